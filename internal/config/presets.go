package config

import (
	"fmt"

	"github.com/holdfast-db/holdfast/internal/retain"
)

// preset returns the settings of a preset; those of production where none is chosen are too much to assume, so
// that without one a database is backed up daily, kept for a week and read back weekly.
func preset(p Preset) Database {
	db := Database{Preset: p, Jobs: 2, Retries: 3, LockWait: must[Duration]("30s"), Timeout: must[Duration]("24h")}
	db.Verify.Sample = 100
	db.Objectives.MinCopies = 1
	db.Objectives.MaxSizeChange = 50
	jitter := must[Duration]("10m")
	switch p {
	case Staging:
		db.Schedule = Schedule{At: must[Times]("15 2 * * *"), Jitter: jitter}
		db.Keep = Keep{Daily: must[retain.Limit]("14d"), Weekly: must[retain.Limit]("30d"), Min: 3}
		db.Verify.Schedule.At = must[Times]("Sun 04:00")
		db.Drill.Schedule.At = must[Times]("*-*-01 05:00")
		db.Objectives.MinCopies = 2
	case Production:
		db.Schedule = Schedule{At: must[Times]("0 2,8-18 * * *"), Jitter: jitter}
		db.Keep = Keep{Hourly: must[retain.Limit]("48h"), Daily: must[retain.Limit]("30d"), Weekly: must[retain.Limit]("6mo"), Monthly: must[retain.Limit]("1y"), Min: 5}
		db.Verify.Schedule.At = must[Times]("30 3 * * *")
		db.Drill.Schedule.At = must[Times]("Sun 04:00")
		db.Objectives.MinCopies = 3
	default: // development
		db.Schedule = Schedule{At: must[Times]("15 2 * * *"), Jitter: jitter}
		db.Keep = Keep{Daily: must[retain.Limit]("7d"), Min: 2}
		db.Verify.Schedule.At = must[Times]("Sun 04:00")
	}
	return db
}

// must reads a constant of this file.
func must[T any, P interface {
	*T
	UnmarshalText([]byte) error
}](text string) (v T) {
	if err := P(&v).UnmarshalText([]byte(text)); err != nil {
		panic(fmt.Sprintf("preset %q: %v", text, err))
	}
	return v
}

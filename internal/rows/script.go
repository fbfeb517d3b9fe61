package rows

// A ScriptResult says what running a plain SQL file did.
type ScriptResult struct {
	Statements int64       `json:"statements"`
	Tables     []TableRows `json:"tables,omitempty"` // that rows were put into, as the engine counted them
	DryRun     bool        `json:"dry_run,omitempty"`
	Notes      []string    `json:"notes,omitempty"`
}

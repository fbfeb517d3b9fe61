package config

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strings"
)

// Schema returns the JSON schema of the file, for editors.
func Schema() []byte {
	root := object(reflect.TypeFor[Config]())
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "holdfast.yaml"
	root["required"] = []string{"databases"}
	text, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		panic("schema: " + err.Error()) // of our own types
	}
	return append(text, '\n')
}

func object(t reflect.Type) map[string]any {
	properties := map[string]any{}
	for i := range t.NumField() {
		f := t.Field(i)
		if name := f.Tag.Get("yaml"); name != "-" {
			s := typeSchema(f.Type)
			s["description"] = f.Tag.Get("doc")
			properties[name] = s
		}
	}
	return map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
}

func typeSchema(t reflect.Type) map[string]any {
	text := []string{"string", "number", "boolean"} // YAML reads 7 and true as such
	switch {
	case t == reflect.TypeFor[Event]():
		return map[string]any{"enum": Events()}
	case t == reflect.TypeFor[Preset]():
		return map[string]any{"enum": Presets()}
	case t == reflect.TypeFor[HookFails]():
		return map[string]any{"enum": []HookFails{Abort, Warn}}
	case t == reflect.TypeFor[[]*Database]():
		return map[string]any{"type": "object", "additionalProperties": map[string]any{"anyOf": []any{map[string]any{"type": "string"}, object(reflect.TypeFor[Database]())}}}
	case reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()):
		return map[string]any{"type": text}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return typeSchema(t.Elem())
	case reflect.Struct:
		o := object(t)
		if shorthand(reflect.New(t).Elem()).IsValid() {
			return map[string]any{"anyOf": []any{map[string]any{"type": text}, o}}
		}
		return o
	case reflect.Slice:
		item := typeSchema(t.Elem())
		return map[string]any{"anyOf": []any{map[string]any{"type": "array", "items": item}, item}}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": typeSchema(t.Elem())}
	case reflect.Int:
		return map[string]any{"type": "integer", "minimum": 0}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	}
	return map[string]any{"type": text}
}

// Reference returns docs/config.md's tables: every setting with what it means.
func Reference() string {
	var b strings.Builder
	for _, t := range []struct {
		title string
		typ   reflect.Type
	}{
		{"The file", reflect.TypeFor[Config]()}, {"A database", reflect.TypeFor[Database]()}, {"tables", reflect.TypeFor[Tables]()},
		{"schedule", reflect.TypeFor[Schedule]()}, {"keep", reflect.TypeFor[Keep]()}, {"verify", reflect.TypeFor[Verify]()}, {"drill", reflect.TypeFor[Drill]()},
		{"objectives", reflect.TypeFor[Objectives]()}, {"hooks", reflect.TypeFor[Hooks]()}, {"A hook", reflect.TypeFor[Hook]()},
		{"An export", reflect.TypeFor[Export]()}, {"A place of notify", reflect.TypeFor[Notify]()}, {"heartbeat", reflect.TypeFor[Heartbeat]()},
	} {
		b.WriteString("## " + t.title + "\n\n| setting | meaning |\n|---|---|\n")
		for i := range t.typ.NumField() {
			if f := t.typ.Field(i); f.Tag.Get("yaml") != "-" {
				b.WriteString("| `" + f.Tag.Get("yaml") + "` | " + strings.ReplaceAll(f.Tag.Get("doc"), "|", `\|`) + " |\n")
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

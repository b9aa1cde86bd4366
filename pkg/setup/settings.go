package setup

import (
	"bytes"
	"fmt"
	"reflect"

	"github.com/pelletier/go-toml/v2"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/config"
)

const head = `# What "arasul setup" and the page have set. They write this file anew: change
# /etc/arasul/arasul.toml instead, whose lines stand above these.

`

// setting is one key of settings.toml.
type setting struct {
	table, key string
	value      any
}

func (s setting) name() string { return s.table + "." + s.key }

// settings are what the answers set.
func settings(a api.Answers) (all []setting) {
	text := func(table, key, value string) {
		if value != "" {
			all = append(all, setting{table, key, value})
		}
	}
	text("mdns", "name", a.Name)
	if a.Interface != "" {
		all = append(all, setting{"mdns", "interfaces", []any{a.Interface}})
	}
	text("llm", "model", a.LLMModel)
	text("embeddings", "model", a.EmbeddingModel)
	if a.N8NLicence {
		all = append(all, setting{"images", "n8n_licence", true})
	}
	return all
}

// Change is a key that gets another value.
type Change struct {
	Key  string `json:"key"` // such as mdns.name
	From string `json:"from"`
	To   string `json:"to"`
}

// Merge is the text of settings.toml after the answers, and what they change of
// it. Current is its text until now, which may be empty. One that is no
// configuration is an error: it is not overwritten.
func Merge(current []byte, a api.Answers) (text []byte, changes []Change, err error) {
	if err := config.Decode(config.Settings, current, config.Defaults()); err != nil {
		return nil, nil, fmt.Errorf("%w (mend or remove it: it is written by arasul setup alone)", err)
	}
	doc := map[string]any{}
	if err := toml.Unmarshal(current, &doc); err != nil {
		return nil, nil, err
	}
	for _, s := range settings(a) {
		table, _ := doc[s.table].(map[string]any)
		if table == nil {
			table = map[string]any{}
			doc[s.table] = table
		}
		if before := table[s.key]; !reflect.DeepEqual(before, s.value) {
			changes = append(changes, Change{s.name(), show(before), show(s.value)})
		}
		table[s.key] = s.value
	}
	var out bytes.Buffer
	out.WriteString(head)
	if len(doc) > 0 {
		if err := toml.NewEncoder(&out).SetIndentTables(false).Encode(doc); err != nil {
			return nil, nil, err
		}
	}
	if err := config.Decode(config.Settings, out.Bytes(), config.Defaults()); err != nil {
		return nil, nil, err
	}
	return out.Bytes(), changes, nil
}

func show(value any) string {
	switch v := value.(type) {
	case nil:
		return ""
	case []any:
		return fmt.Sprint(v...)
	default:
		return fmt.Sprint(v)
	}
}

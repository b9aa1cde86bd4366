package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// Duration is a time.Duration that is written as "30s" or "168h" in TOML.
type Duration time.Duration

// Std returns d as the standard library's type.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// String prints d without the zero minutes and seconds that time.Duration
// adds: 168h, not 168h0m0s.
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf(`%q is not a duration such as "30s" or "24h"`, text)
	}
	*d = Duration(v)
	return nil
}

// Problem is one thing wrong with a file.
type Problem struct {
	File string
	Line int    // 1-based; 0 when the key is not in the file
	Key  string // dotted; empty when the text is not TOML at all
	Text string
}

// Error says where and what: "/etc/arasul/arasul.toml:12: metrics.interval: …".
func (p Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
	}
	b.WriteString(": ")
	if p.Key != "" {
		b.WriteString(p.Key + ": ")
	}
	b.WriteString(p.Text)
	return b.String()
}

// table is the first part of the key.
func (p Problem) table() string {
	t, _, _ := strings.Cut(p.Key, ".")
	return t
}

// problemsOf lists the Problems that err joins.
func problemsOf(err error) []Problem {
	var one Problem
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []Problem
		for _, e := range joined.Unwrap() {
			all = append(all, problemsOf(e)...)
		}
		return all
	}
	if errors.As(err, &one) {
		return []Problem{one}
	}
	return nil
}

// Validator is a value that can judge its own content. Keys are dotted.
type Validator interface {
	Validate(report func(key, problem string))
}

// Decode reads TOML from data into v, strictly: unknown keys are refused, and
// what v's Validate reports is an error too. The error joins all Problems,
// in the order of their lines. The name file is used in messages only.
func Decode(file string, data []byte, v Validator) error {
	d := toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return explain(file, err)
	}
	var problems []Problem
	lines := keyLines(data)
	v.Validate(func(key, text string) {
		problems = append(problems, Problem{File: file, Line: lines[key], Key: key, Text: text})
	})
	return join(problems)
}

// salvage makes a configuration of the tables of a bad file that are sound, over
// what base returns.
// The decoder stops at the first value of a wrong type, so it may take several
// turns to find all problems.
func salvage(file string, data []byte, base func() *Config, err error) (*Config, error) {
	var doc map[string]any
	if toml.Unmarshal(data, &doc) != nil {
		return base(), err
	}
	lines := keyLines(data)
	var problems []Problem
	for {
		found := problemsOf(err)
		for _, p := range found {
			if len(problems) > 0 { // of a shortened file
				p.Line = lines[p.Key]
			}
			delete(doc, p.table())
		}
		problems = append(problems, found...)
		rest, marshalErr := toml.Marshal(doc)
		c := base()
		if err = Decode(file, rest, c); err == nil && marshalErr == nil {
			return c, join(problems)
		}
		if len(problemsOf(err)) == 0 || slices.ContainsFunc(problemsOf(err), func(p Problem) bool { _, there := doc[p.table()]; return !there }) {
			return base(), join(problems) // no progress
		}
	}
}

func explain(file string, err error) error {
	var unknown *toml.StrictMissingError
	if errors.As(err, &unknown) {
		var problems []Problem
		for _, e := range unknown.Errors {
			line, _ := e.Position()
			problems = append(problems, Problem{File: file, Line: line, Key: strings.Join(e.Key(), "."), Text: "there is no such key"})
		}
		return join(problems)
	}
	var bad *toml.DecodeError
	if errors.As(err, &bad) {
		line, _ := bad.Position()
		return Problem{File: file, Line: line, Key: strings.Join(bad.Key(), "."), Text: strings.TrimPrefix(bad.Error(), "toml: ")}
	}
	return Problem{File: file, Text: err.Error()}
}

func join(problems []Problem) error {
	slices.SortStableFunc(problems, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
	errs := make([]error, len(problems))
	for i, p := range problems {
		errs[i] = p
	}
	return errors.Join(errs...)
}

// keyLines maps each dotted key of a valid document to its first line. Tables
// of an array are numbered: rule.0.name, rule.1.name.
func keyLines(data []byte) map[string]int {
	lines := map[string]int{}
	arrays := map[string]int{}
	var prefix string
	p := unstable.Parser{}
	p.Reset(data)
	for p.NextExpression() {
		e := p.Expression()
		key, line := keyOf(&p, e)
		switch e.Kind {
		case unstable.Table:
			prefix = key
		case unstable.ArrayTable:
			prefix = fmt.Sprintf("%s.%d", key, arrays[key])
			arrays[key]++
			key = prefix
		case unstable.KeyValue:
			if prefix != "" {
				key = prefix + "." + key
			}
		}
		if _, seen := lines[key]; !seen {
			lines[key] = line
		}
	}
	return lines
}

func keyOf(p *unstable.Parser, e *unstable.Node) (key string, line int) {
	var parts []string
	for it := e.Key(); it.Next(); {
		n := it.Node()
		if line == 0 {
			line = p.Shape(n.Raw).Start.Line
		}
		parts = append(parts, string(n.Data))
	}
	return strings.Join(parts, "."), line
}

// TOML prints c as a file that Load would read back the same.
func (c *Config) TOML() ([]byte, error) { return toml.Marshal(c) }

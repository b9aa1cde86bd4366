package setup

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/config"
)

// The names of the answers, as files, the API and messages have them.
const (
	fieldName           = "name"
	fieldInterface      = "interface"
	fieldLLMModel       = "llm_model"
	fieldEmbeddingModel = "embedding_model"
	fieldMinIOUser      = "minio_user"
	fieldMinIOPassword  = "minio_password"
)

// Problem is an answer that cannot be.
type Problem struct {
	Field string // such as name
	Text  string // what is wrong, and what would be right
}

func (p Problem) Error() string { return p.Field + ": " + p.Text }

// Machine is what answers are judged by.
type Machine struct {
	Interfaces  []api.Interface
	MemoryBytes uint64 // 0: not known, and everything fits
	FreeBytes   uint64 // on the disk; 0: not known
	Installed   []string
}

// Check returns every answer that cannot be, in the order in which they are
// asked for; none when all can.
func Check(a api.Answers, m Machine) (problems []Problem) {
	for _, one := range []struct {
		field, value string
		check        func(string, Machine) string
	}{
		{fieldName, a.Name, checkName},
		{fieldInterface, a.Interface, checkInterface},
		{fieldLLMModel, a.LLMModel, checkModel},
		{fieldEmbeddingModel, a.EmbeddingModel, checkModel},
		{fieldMinIOUser, a.MinIOUser, checkUser},
		{fieldMinIOPassword, a.MinIOPassword, checkPassword},
	} {
		if one.value == "" {
			continue
		}
		if wrong := one.check(one.value, m); wrong != "" {
			problems = append(problems, Problem{one.field, wrong})
		}
	}
	return problems
}

func checkName(s string, _ Machine) string {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789-"
	switch {
	case strings.Trim(s, letters) != "":
		return fmt.Sprintf("%q has other characters than a to z, 0 to 9 and hyphen", s)
	case s[0] == '-' || s[len(s)-1] == '-':
		return fmt.Sprintf("%q begins or ends with a hyphen", s)
	case len(s) > 56: // room for -s3-999 when the name is taken
		return fmt.Sprintf("it has %d characters, and 56 are the most", len(s))
	case s == "localhost":
		return "localhost is every machine's name for itself"
	}
	return ""
}

func checkInterface(s string, m Machine) string {
	var names []string
	for _, i := range m.Interfaces {
		names = append(names, i.Name)
	}
	switch {
	case slices.Contains(names, s):
		return ""
	case len(names) == 0:
		return fmt.Sprintf("there is no interface %q, nor any other that leads into a network", s)
	}
	return fmt.Sprintf("there is no interface %q; there are %s", s, strings.Join(names, ", "))
}

func checkModel(s string, _ Machine) string {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/:"
	if len(s) > 200 || s[0] == '-' || s[0] == '/' || strings.Trim(s, letters) != "" || strings.Count(s, ":") > 1 || strings.HasSuffix(s, ":") {
		return fmt.Sprintf("%q is not the name of a model, such as llama3.2:3b", s)
	}
	return ""
}

func checkUser(s string, _ Machine) string {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."
	switch {
	case len(s) < 3 || len(s) > 20:
		return "it has to have 3 to 20 characters"
	case strings.Trim(s, letters) != "":
		return "it may have letters, digits, hyphen, underscore and full stop only"
	case s == "arasul-n8n" || s == "arasul-app":
		return fmt.Sprintf("%s is the name of another key of ours", s)
	}
	return ""
}

func checkPassword(s string, _ Machine) string {
	switch {
	case len(s) < 8 || len(s) > 40:
		return "it has to have 8 to 40 characters"
	case strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "it may have letters, digits and signs of a plain keyboard only, and no blanks"
	}
	return ""
}

// Current are the answers that are in force.
func Current(c *config.Config) api.Answers {
	a := api.Answers{Name: c.MDNS.Name, LLMModel: c.LLM.Model, EmbeddingModel: c.Embeddings.Model, N8NLicence: c.Images.N8NLicence}
	if len(c.MDNS.Interfaces) == 1 {
		a.Interface = c.MDNS.Interfaces[0]
	}
	return a
}

// Over lays answers over others: what is empty is taken from below.
func Over(a, below api.Answers) api.Answers {
	return api.Answers{
		Name:           cmp.Or(a.Name, below.Name),
		Interface:      cmp.Or(a.Interface, below.Interface),
		LLMModel:       cmp.Or(a.LLMModel, below.LLMModel),
		EmbeddingModel: cmp.Or(a.EmbeddingModel, below.EmbeddingModel),
		N8NLicence:     a.N8NLicence || below.N8NLicence,
		MinIOUser:      cmp.Or(a.MinIOUser, below.MinIOUser),
		MinIOPassword:  cmp.Or(a.MinIOPassword, below.MinIOPassword),
	}
}

// Secrets are the keys that the answers set, by their name in
// /var/lib/arasul/secrets.
func Secrets(a api.Answers) map[string]string {
	keys := map[string]string{}
	if a.MinIOUser != "" {
		keys["minio-root-user"] = a.MinIOUser
	}
	if a.MinIOPassword != "" {
		keys["minio-root-password"] = a.MinIOPassword
	}
	return keys
}

package cli

import "fmt"

// Secrets makes the keys that the appliance keeps to itself.
type Secrets interface {
	Generate() (did []string, err error)
}

type secretsGenerateCmd struct{}

func (secretsGenerateCmd) Run(c *commands, env *Env) error {
	did, err := env.Secrets.Generate()
	if c.JSON && err == nil {
		return env.printJSON(map[string]any{"did": append([]string{}, did...)})
	}
	for _, line := range did {
		fmt.Fprintln(env.Stdout, line)
	}
	return err
}

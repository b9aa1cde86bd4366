// Mkgguf writes small language models that a real Ollama runs, to standard
// output, in the GGUF format of llama.cpp:
//
//	mkgguf chat [-reply TEXT] [-dim N] [-layers N]
//	mkgguf embed
//
// A chat model answers everything with the same words. It does all the work that
// a model of its size does, so that with -dim and -layers its answer takes as
// long as a test needs. An embedding model makes texts similar that share words
// or parts of words.
//
// They know nothing and learn nothing; the same arguments make the same file.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "mkgguf:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New("say chat or embed")
	}
	flags := flag.NewFlagSet(args[0], flag.ExitOnError)
	reply := flags.String("reply", "This is the answer of a small model.", "what chat answers")
	dim := flags.Int("dim", 64, "numbers that stand for a token in chat, a multiple of 8")
	layers := flags.Int("layers", 2, "layers of chat")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	var m *model
	switch args[0] {
	case "chat":
		m = chat(*reply, *dim, *layers)
	case "embed":
		m = embed()
	default:
		return fmt.Errorf("unknown kind %s: say chat or embed", args[0])
	}
	out := bufio.NewWriterSize(os.Stdout, 1<<20)
	if err := m.write(out); err != nil {
		return fmt.Errorf("writing model: %w", err)
	}
	return out.Flush()
}

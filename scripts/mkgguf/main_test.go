package main

import (
	"bytes"
	"slices"
	"testing"
)

func TestNoPieceOfAReplyIsThereTwice(t *testing.T) {
	got := pieces("a b a  b c a")
	want := []string{"a", "\u2581b", "\u2581a", "\u2581b\u2581c"}
	if !slices.Equal(got[:4], want) {
		t.Errorf("pieces are %q; want %q", got, want)
	}
	slices.Sort(got)
	if n := len(got); n != len(slices.Compact(got)) {
		t.Errorf("one is there twice: %q", got)
	}
}

func TestTheSameArgumentsMakeTheSameFile(t *testing.T) {
	for name, make := range map[string]func() *model{
		"chat":  func() *model { return chat("yes or no", 64, 2) },
		"embed": embed,
	} {
		var a, b bytes.Buffer
		if err := make().write(&a); err != nil {
			t.Fatal(err)
		}
		if err := make().write(&b); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a.Bytes(), b.Bytes()) || !bytes.HasPrefix(a.Bytes(), []byte("GGUF\x03\x00\x00\x00")) {
			t.Errorf("%s: two files of %d and %d bytes differ", name, a.Len(), b.Len())
		}
	}
}

func TestHalfIsTheFloatCutOff(t *testing.T) {
	for f, want := range map[float32]uint16{0: 0, 1: 0x3c00, -2: 0xc000, 0.5: 0x3800, 65504: 0x7bff, 1e9: 0x7bff, 1e-9: 0, -1e-9: 0x8000} {
		if got := half(f); got != want {
			t.Errorf("half(%g) is %#04x; want %#04x", f, got, want)
		}
	}
}

package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"
)

// model is what a GGUF file holds: facts about the model, and its numbers.
type model struct {
	facts   []fact
	tensors []tensor
}

type fact struct {
	key   string
	value any // uint32, uint64, int32, float32, bool, string or a slice of string, int32, float32
}

// tensor is a block of numbers. They are made when they are written: all of a
// larger model would not fit into memory.
type tensor struct {
	name  string
	shape []int // the innermost first
	half  bool  // 16-bit floats instead of 32-bit
	make  func() []float32
}

func (t tensor) numbers() int {
	n := 1
	for _, d := range t.shape {
		n *= d
	}
	return n
}

func (t tensor) size() int {
	if t.half {
		return 2 * t.numbers()
	}
	return 4 * t.numbers()
}

// zeros is a tensor that contributes nothing, but takes part in the computing.
func zeros(name string, half bool, shape ...int) tensor {
	t := tensor{name: name, half: half, shape: shape}
	t.make = func() []float32 { return make([]float32, t.numbers()) }
	return t
}

// ones is a tensor that leaves what it scales as it is.
func ones(name string, n int) tensor {
	return tensor{name: name, shape: []int{n}, make: func() []float32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = 1
		}
		return v
	}}
}

// align is where tensors begin: at multiples of it.
const align = 32

var padding [align]byte

func pad(n int) []byte { return padding[:(align-n%align)%align] }

// write writes version 3 of the format, in the order it wants: the facts, where
// each tensor is, the tensors.
func (m *model) write(w io.Writer) error {
	parameters := 0
	for _, t := range m.tensors {
		parameters += t.numbers()
	}
	facts := append(slices.Clone(m.facts), fact{"general.parameter_count", uint64(parameters)})

	var head encoder
	head.WriteString("GGUF")
	head.put(uint32(3))
	head.put(uint64(len(m.tensors)))
	head.put(uint64(len(facts)))
	for _, f := range facts {
		head.text(f.key)
		if err := head.value(f.value); err != nil {
			return fmt.Errorf("%s: %w", f.key, err)
		}
	}
	offset := 0
	for _, t := range m.tensors {
		head.text(t.name)
		head.put(uint32(len(t.shape)))
		for _, d := range t.shape {
			head.put(uint64(d))
		}
		kind := uint32(0)
		if t.half {
			kind = 1
		}
		head.put(kind)
		head.put(uint64(offset))
		offset += t.size() + len(pad(t.size()))
	}
	head.Write(pad(head.Len()))
	if _, err := w.Write(head.Bytes()); err != nil {
		return err
	}
	for _, t := range m.tensors {
		if err := t.write(w); err != nil {
			return err
		}
	}
	return nil
}

func (t tensor) write(w io.Writer) error {
	numbers := t.make()
	if len(numbers) != t.numbers() {
		return fmt.Errorf("%s has %d numbers instead of %d", t.name, len(numbers), t.numbers())
	}
	out := make([]byte, 0, t.size()+align)
	for _, f := range numbers {
		if t.half {
			out = binary.LittleEndian.AppendUint16(out, half(f))
		} else {
			out = binary.LittleEndian.AppendUint32(out, math.Float32bits(f))
		}
	}
	_, err := w.Write(append(out, pad(len(out))...))
	return err
}

// half is f as a 16-bit float, cut off rather than rounded.
func half(f float32) uint16 {
	bits := math.Float32bits(f)
	sign := uint16(bits>>16) & 0x8000
	exponent := int(bits>>23&0xff) - 127 + 15
	switch {
	case exponent <= 0:
		return sign
	case exponent >= 31:
		return sign | 0x7bff // the largest there is
	}
	return sign | uint16(exponent)<<10 | uint16(bits>>13)&0x3ff
}

// encoder puts values as GGUF wants them: little endian, lengths before texts
// and slices.
type encoder struct{ bytes.Buffer }

func (e *encoder) put(v any) { _ = binary.Write(e, binary.LittleEndian, v) } // memory is written to

func (e *encoder) text(s string) {
	e.put(uint64(len(s)))
	e.WriteString(s)
}

// value puts a fact's value behind the number of its type.
func (e *encoder) value(v any) error {
	const slice = 9
	kind, err := kindOf(v)
	if err != nil {
		return err
	}
	switch v := v.(type) {
	case string:
		e.put(kind)
		e.text(v)
	case []string:
		e.put([]uint32{slice, kind})
		e.put(uint64(len(v)))
		for _, s := range v {
			e.text(s)
		}
	case []float32:
		e.put([]uint32{slice, kind})
		e.put(uint64(len(v)))
		e.put(v)
	case []int32:
		e.put([]uint32{slice, kind})
		e.put(uint64(len(v)))
		e.put(v)
	default:
		e.put(kind)
		e.put(v)
	}
	return nil
}

// kindOf is the number of a value's type, or of what a slice holds.
func kindOf(v any) (uint32, error) {
	switch v.(type) {
	case uint32:
		return 4, nil
	case int32, []int32:
		return 5, nil
	case float32, []float32:
		return 6, nil
	case bool:
		return 7, nil
	case string, []string:
		return 8, nil
	case uint64:
		return 10, nil
	}
	return 0, fmt.Errorf("no GGUF type for %T", v)
}

package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
)

// Tokens that every vocabulary of this kind begins with.
const (
	unknownToken = iota
	beginToken
	endToken
)

// Kinds of tokens.
const (
	normalToken  int32 = 1
	unknownKind  int32 = 2
	controlToken int32 = 3
	byteToken    int32 = 6
)

// chat makes a model of the llama family. Its layers compute and add nothing, so
// that what leads from one token to the next is the last matrix alone: the row of
// each word of the reply is the vector of the word before it. Every token that is
// not of the reply leads to its first word, the last word to the end.
func chat(reply string, dim, layers int) *model {
	const heads, context = 4, 2048
	tokens := []string{"<unk>", "<s>", "</s>"}
	kinds := []int32{unknownKind, controlToken, controlToken}
	for i := range 256 {
		tokens, kinds = append(tokens, fmt.Sprintf("<0x%02X>", i)), append(kinds, byteToken)
	}
	for _, t := range []string{"<|system|>", "<|user|>", "<|assistant|>", "<|end|>"} {
		tokens, kinds = append(tokens, t), append(kinds, controlToken)
	}
	first := len(tokens)
	for _, w := range pieces(reply) {
		tokens, kinds = append(tokens, w), append(kinds, normalToken)
	}
	scores := make([]float32, len(tokens))
	for i := first; i < len(scores); i++ {
		scores[i] = -float32(i)
	}
	vectors := chain(len(tokens), first, dim)
	m := &model{
		facts: []fact{
			{"general.architecture", "llama"}, {"general.type", "model"}, {"general.file_type", uint32(1)},
			{"general.quantization_version", uint32(2)},
			{"llama.block_count", uint32(layers)}, {"llama.context_length", uint32(context)},
			{"llama.embedding_length", uint32(dim)}, {"llama.feed_forward_length", uint32(2 * dim)},
			{"llama.attention.head_count", uint32(heads)}, {"llama.attention.head_count_kv", uint32(heads)},
			{"llama.attention.layer_norm_rms_epsilon", float32(1e-5)},
			{"llama.rope.dimension_count", uint32(dim / heads)}, {"llama.rope.freq_base", float32(10000)},
			{"llama.vocab_size", uint32(len(tokens))},
			{"tokenizer.ggml.model", "llama"}, {"tokenizer.ggml.pre", "default"},
			{"tokenizer.ggml.tokens", tokens}, {"tokenizer.ggml.scores", scores}, {"tokenizer.ggml.token_type", kinds},
			{"tokenizer.ggml.unknown_token_id", uint32(unknownToken)},
			{"tokenizer.ggml.bos_token_id", uint32(beginToken)}, {"tokenizer.ggml.eos_token_id", uint32(endToken)},
			{"tokenizer.ggml.add_bos_token", true}, {"tokenizer.ggml.add_eos_token", false}, {"tokenizer.ggml.add_space_prefix", true},
		},
		tensors: []tensor{
			{"token_embd.weight", []int{dim, len(tokens)}, true, func() []float32 { return vectors }},
			ones("output_norm.weight", dim),
			{"output.weight", []int{dim, len(tokens)}, true, func() []float32 { return successors(vectors, first, dim) }},
		},
	}
	for l := range layers {
		name := func(part string) string { return fmt.Sprintf("blk.%d.%s.weight", l, part) }
		m.tensors = append(m.tensors,
			ones(name("attn_norm"), dim),
			zeros(name("attn_q"), true, dim, dim), zeros(name("attn_k"), true, dim, dim),
			zeros(name("attn_v"), true, dim, dim), zeros(name("attn_output"), true, dim, dim),
			ones(name("ffn_norm"), dim),
			zeros(name("ffn_gate"), true, dim, 2*dim), zeros(name("ffn_up"), true, dim, 2*dim),
			zeros(name("ffn_down"), true, 2*dim, dim))
	}
	return m
}

// pieces cuts a text into words, each with the space before it, none of them
// twice: a word that was there is glued to the one after it.
func pieces(text string) (words []string) {
	seen := map[string]bool{}
	piece := ""
	for i, w := range strings.Fields(text) {
		if i > 0 {
			piece += "\u2581"
		}
		piece += w
		if !seen[piece] {
			seen[piece] = true
			words, piece = append(words, piece), ""
		}
	}
	return words
}

// chain makes the vectors of all tokens: those before first nearly the same, the
// words of the reply at right angles to them and, nearly, to one another.
func chain(tokens, first, dim int) []float32 {
	random := rand.New(rand.NewPCG(1, 1))
	vectors := make([]float32, tokens*dim)
	for t := range tokens {
		v := vectors[t*dim : (t+1)*dim]
		if t < first {
			v[0] = float32(math.Sqrt(float64(dim)))
			continue
		}
		for i := 1; i < dim; i++ {
			v[i] = float32(1 - 2*random.IntN(2))
		}
	}
	return vectors
}

// successors makes the rows of the last matrix. What a token leads to gets 80,
// others near 0, so that chance has no part in it.
func successors(vectors []float32, first, dim int) []float32 {
	const certain = 80
	rows := make([]float32, len(vectors))
	tokens := len(vectors) / dim
	lead := func(from, to int) {
		for i := range dim {
			rows[to*dim+i] += certain / float32(dim) * vectors[from*dim+i]
		}
	}
	lead(unknownToken, first) // as all that are not of the reply
	for t := first; t < tokens-1; t++ {
		lead(t, t+1)
	}
	lead(tokens-1, endToken)
	return rows
}

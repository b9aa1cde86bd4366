package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// embed makes a model of the bert family. Its layers compute and add nothing, so
// that the vector of a text is the mean of the vectors of its parts: letters,
// pairs of letters and numbers.
func embed() *model {
	const dim, layers, heads, context, special = 384, 2, 4, 512, 4
	tokens := append([]string{"[PAD]", "[UNK]", "[CLS]", "[SEP]"}, parts()...)
	kinds := make([]int32, len(tokens))
	for i := range kinds {
		kinds[i] = normalToken
	}
	kinds[0], kinds[1], kinds[2], kinds[3] = controlToken, unknownKind, controlToken, controlToken
	vectors := func() []float32 {
		random := rand.New(rand.NewPCG(1, 1))
		v := make([]float32, len(tokens)*dim)
		for t := special; t < len(tokens); t += 2 { // a part counts the same within a word and at its beginning
			for i := range dim {
				v[t*dim+i] = float32(random.NormFloat64())
				v[(t+1)*dim+i] = v[t*dim+i]
			}
		}
		return v
	}
	m := &model{
		facts: []fact{
			{"general.architecture", "bert"}, {"general.type", "model"}, {"general.file_type", uint32(1)},
			{"general.quantization_version", uint32(2)},
			{"bert.block_count", uint32(layers)}, {"bert.context_length", uint32(context)},
			{"bert.embedding_length", uint32(dim)}, {"bert.feed_forward_length", uint32(dim)},
			{"bert.attention.head_count", uint32(heads)}, {"bert.attention.layer_norm_epsilon", float32(1e-12)},
			{"bert.attention.causal", false}, {"bert.pooling_type", uint32(1)}, {"bert.normalize_embeddings", true},
			{"bert.vocab_size", uint32(len(tokens))},
			{"tokenizer.ggml.model", "bert"}, {"tokenizer.ggml.pre", "default"}, {"tokenizer.ggml.token_type_count", uint32(2)},
			{"tokenizer.ggml.tokens", tokens}, {"tokenizer.ggml.token_type", kinds}, {"tokenizer.ggml.scores", make([]float32, len(tokens))},
			{"tokenizer.ggml.padding_token_id", uint32(0)}, {"tokenizer.ggml.unknown_token_id", uint32(1)},
			{"tokenizer.ggml.cls_token_id", uint32(2)}, {"tokenizer.ggml.bos_token_id", uint32(2)},
			{"tokenizer.ggml.seperator_token_id", uint32(3)}, {"tokenizer.ggml.eos_token_id", uint32(3)}, // the format's spelling
			{"tokenizer.ggml.mask_token_id", uint32(1)},
		},
		tensors: []tensor{
			{"token_embd.weight", []int{dim, len(tokens)}, true, vectors},
			zeros("token_types.weight", false, dim, 2), zeros("position_embd.weight", false, dim, context),
			ones("token_embd_norm.weight", dim), zeros("token_embd_norm.bias", false, dim),
		},
	}
	for l := range layers {
		name := func(part string) string { return fmt.Sprintf("blk.%d.%s", l, part) }
		for _, matrix := range []string{"attn_q", "attn_k", "attn_v", "attn_output", "ffn_up", "ffn_down"} {
			m.tensors = append(m.tensors, zeros(name(matrix+".weight"), true, dim, dim), zeros(name(matrix+".bias"), false, dim))
		}
		for _, norm := range []string{"attn_output_norm", "layer_output_norm"} {
			m.tensors = append(m.tensors, ones(name(norm+".weight"), dim), zeros(name(norm+".bias"), false, dim))
		}
	}
	return m
}

// parts are what words are made of, each as the beginning of a word and as what
// follows.
func parts() (all []string) {
	seen := map[string]bool{}
	add := func(s string) {
		if !seen[s] {
			seen[s] = true
			all = append(all, "\u2581"+s, s)
		}
	}
	for r := rune(33); r < 127; r++ {
		add(strings.ToLower(string(r)))
	}
	letters := []rune("abcdefghijklmnopqrstuvwxyzäöüß")
	for _, a := range letters {
		add(string(a))
		for _, b := range letters {
			add(string(a) + string(b))
		}
	}
	for i := range 100 {
		add(fmt.Sprintf("%02d", i))
	}
	return all
}

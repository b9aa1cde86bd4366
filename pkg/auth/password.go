package auth

import (
	_ "embed"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	MinLength = 12 // characters
	MaxBytes  = 72 // bcrypt ignores what comes after them
	Remember  = 5  // passwords that may not come again, the present one among them
)

// Weakness is one thing that keeps a password from being taken.
type Weakness string

// The weaknesses.
const (
	TooShort   Weakness = "min_length"
	TooLong    Weakness = "max_bytes"
	NoUpper    Weakness = "upper"
	NoLower    Weakness = "lower"
	NoDigit    Weakness = "digit"
	NoSpecial  Weakness = "special"
	Unreadable Weakness = "characters" // not UTF-8, or with control characters
	Guessable  Weakness = "guessable"  // a word that everybody tries, and nothing else
	Reused     Weakness = "history"
)

// WeakError says what keeps a password from being taken, and nothing of it.
type WeakError struct{ Weaknesses []Weakness }

func (e *WeakError) Error() string {
	words := make([]string, len(e.Weaknesses))
	for n, w := range e.Weaknesses {
		words[n] = string(w)
	}
	return "the password is too weak: " + strings.Join(words, ", ")
}

// Weaknesses judges a password by itself. Words are what an attacker tries
// here besides what he tries everywhere: the machine's name.
func Weaknesses(password string, words ...string) []Weakness {
	var found []Weakness
	lacks := func(w Weakness, yes bool) {
		if yes {
			found = append(found, w)
		}
	}
	var upper, lower, digit, special bool
	for _, r := range password {
		switch {
		case unicode.IsUpper(r):
			upper = true
		case unicode.IsDigit(r):
			digit = true
		case unicode.IsLetter(r):
			lower = lower || unicode.IsLower(r)
		default:
			special = true
		}
	}
	lacks(TooShort, utf8.RuneCountInString(password) < MinLength)
	lacks(TooLong, len(password) > MaxBytes)
	lacks(NoUpper, !upper)
	lacks(NoLower, !lower)
	lacks(NoDigit, !digit)
	lacks(NoSpecial, !special)
	lacks(Unreadable, !readable(password))
	lacks(Guessable, len(password) <= MaxBytes && guessable(password, words))
	return found
}

// readable says whether bcrypt takes all of the password for what it is. It
// ends the key with a NUL and repeats it, so "a" and "a\x00a" would be one.
func readable(password string) bool {
	return utf8.ValidString(password) && strings.IndexFunc(password, unicode.IsControl) < 0
}

// usable says whether a password may be hashed at all.
func usable(password string) bool { return len(password) <= MaxBytes && readable(password) }

//go:embed common.txt
var commonText string

// leet undoes what people do to a word to make it count as a password.
var leet = strings.NewReplacer("0", "o", "1", "i", "3", "e", "4", "a", "5", "s", "7", "t", "@", "a", "$", "s", "!", "i", "€", "e")

const fewestLetters = 4

// guessable says whether next to nothing is left of a password without the
// words that everybody tries: fewer than four different letters.
func guessable(password string, words []string) bool {
	plain := strings.ToLower(password)
	for _, w := range words {
		if w = strings.ToLower(w); len(w) > 2 {
			plain = strings.ReplaceAll(plain, w, " ")
		}
	}
	return few(without(plain)) || few(without(leet.Replace(plain)))
}

func without(text string) string {
	for w := range strings.FieldsSeq(commonText) {
		text = strings.ReplaceAll(text, w, " ")
	}
	return text
}

func few(text string) bool {
	letters := map[rune]bool{}
	for _, r := range text {
		if unicode.IsLetter(r) {
			letters[r] = true
		}
	}
	return len(letters) < fewestLetters
}

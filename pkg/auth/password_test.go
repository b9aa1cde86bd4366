package auth

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// Proves AUTH-3.
func TestWeakPasswordsAreNamedWhatTheyLack(t *testing.T) {
	all := func(w ...Weakness) []Weakness { return w }
	for password, want := range map[string][]Weakness{
		"Correct-Horse-Battery-1":           nil,
		"Grüße-aus-Köln-Nord-7":             nil,
		"xK9#mQ2$vL5!":                      nil,
		"fünf Dromedare-4-Oasen":            nil,
		"":                                  all(TooShort, NoUpper, NoLower, NoDigit, NoSpecial, Guessable),
		"Kurz-1234xyz":                      nil,
		"Kurz-1234xy":                       all(TooShort),
		"correct-horse-battery-1":           all(NoUpper),
		"CORRECT-HORSE-BATTERY-1":           all(NoLower),
		"Correct-Horse-Battery":             all(NoDigit),
		"CorrectHorseBattery1":              all(NoSpecial),
		"Password1234!":                     all(Guessable),
		"P@ssw0rd-P@ssw0rd":                 all(Guessable),
		"Arasul-2026!!":                     all(Guessable),
		"4r4sul-4dmin-1":                    all(NoUpper, Guessable),
		"Willkommen-123":                    all(Guessable),
		"Qwertz-12345678":                   all(Guessable),
		"Keller-Box-2026":                   nil,
		"Workshop-Workshop-1":               all(Guessable), // the machine's name
		"Aaaaaaaaaaa1!":                     all(Guessable),
		strings.Repeat("Kamel-7!", 9):       nil, // 72 bytes
		strings.Repeat("Kamel-7!", 9) + "x": all(TooLong),
		strings.Repeat("Ä", 40) + "bcdef-1": all(TooLong),
		"Correct-Horse-1\x00":               all(Unreadable),
		"Correct-Horse-1\n":                 all(Unreadable),
		"Correct-Horse-1\xff":               all(Unreadable),
	} {
		if got := Weaknesses(password, "workshop"); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", password, got, want)
		}
	}
}

// Proves AUTH-3: what bcrypt would take for the same.
func TestHashesAreOfTheWholePassword(t *testing.T) {
	h := newHasher(bcrypt.MinCost)
	long := strings.Repeat("k", 72)
	for _, tt := range []struct {
		set, tried string
		want       bool
	}{
		{"secret", "secret", true},
		{"secret", "Secret", false},
		{long, long, true},
		{long, long + "x", false},
		{"secret", "secret\x00secret", false},
		{"secret", "", false},
	} {
		hash, err := h.hash(context.Background(), tt.set)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := h.is(context.Background(), hash, tt.tried); got != tt.want || err != nil {
			t.Errorf("%.10q for %.10q: %v, %v", tt.tried, tt.set, got, err)
		}
	}
}

func TestHashingIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHasher(bcrypt.MinCost)
		for range hashesAtOnce {
			h.slots <- struct{}{} // others are at it
		}
		begin := time.Now()
		if _, err := h.is(context.Background(), "", "x"); !errors.Is(err, ErrBusy) || time.Since(begin) != hashPatience {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		h.waiting.Store(hashQueue)
		begin = time.Now()
		if _, err := h.is(context.Background(), "", "x"); !errors.Is(err, ErrBusy) || time.Since(begin) != 0 {
			t.Errorf("full: %v after %v", err, time.Since(begin))
		}
	})
}

func TestTheCostIsTwelve(t *testing.T) {
	g, err := New(Options{Store: &memory{}, SessionKey: make([]byte, 32), FactorKey: make([]byte, 32)})
	if err != nil {
		t.Fatal(err)
	}
	hash, err := g.hasher.hash(context.Background(), "x")
	if err != nil {
		t.Fatal(err)
	}
	if cost, err := bcrypt.Cost([]byte(hash)); cost != 12 || err != nil {
		t.Errorf("cost %d, %v", cost, err)
	}
}

package proxy

import (
	"context"
	"errors"
	"testing"
	"time"
)

// One sign-in serves all of the admin's browsers, and one that failed is not tried
// again at once.
func TestSignOnIsRemembered(t *testing.T) {
	asked, fail := 0, false
	s := signOn{ask: func(context.Context) (string, error) {
		asked++
		if fail {
			return "", errors.New("away")
		}
		return "value", nil
	}}
	now := time.Now()
	for range 3 {
		if v, err := s.cookie(t.Context(), now); v != "value" || err != nil {
			t.Errorf("%q, %v", v, err)
		}
	}
	fail = true
	now = now.Add(2 * signOnKept)
	for range 3 {
		if v, _ := s.cookie(t.Context(), now); v != "" {
			t.Errorf("%q", v)
		}
	}
	if asked != 2 {
		t.Errorf("n8n was asked %d times, want twice", asked)
	}
	fail = false
	if v, err := s.cookie(t.Context(), now.Add(2*signOnPause)); v != "value" || err != nil {
		t.Errorf("%q, %v", v, err)
	}
}

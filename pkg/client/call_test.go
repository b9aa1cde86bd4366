package client

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestCallSendsJSONAndDecodesTheAnswer(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, `{"said":%q}`, fmt.Sprintf("%s %s %s %s", r.Method, r.URL.Path, r.Header.Get("Content-Type"), body))
	})
	for _, tt := range []struct {
		in   any
		want string
	}{
		{map[string]int{"a": 1}, `POST /do application/json {"a":1}`},
		{nil, `POST /do  `},
	} {
		var got struct{ Said string }
		if err := c.Call(t.Context(), http.MethodPost, "/do", tt.in, &got); err != nil || got.Said != tt.want {
			t.Errorf("got %q, %v, want %q", got.Said, err, tt.want)
		}
	}
}

func TestCallTakesAnEmptyAnswer(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	var out struct{ A int }
	if err := c.Call(t.Context(), http.MethodPost, "/do", nil, &out); err != nil {
		t.Error(err)
	}
}

func TestCallSaysWhatTheOtherSideSays(t *testing.T) {
	for name, tt := range map[string]struct{ body, want string }{
		"a problem":            {`{"title":"Conflict","detail":"there is an admin already"}`, "there is an admin already"},
		"a problem in details": {`{"detail":"the password is too weak","errors":[{"message":"a digit is missing"},{"message":"12 characters are wanted"}]}`, "the password is too weak: a digit is missing; 12 characters are wanted"},
		"a title alone":        {`{"title":"Conflict"}`, "Conflict"},
		"no JSON":              {"<html>", "409 Conflict"},
		"nothing":              {"", "409 Conflict"},
		"endless":              {strings.Repeat(" ", 2*maxProblem) + `{"detail":"late"}`, "409 Conflict"},
	} {
		t.Run(name, func(t *testing.T) {
			c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusConflict)
				_, _ = io.WriteString(w, tt.body)
			})
			err := c.Call(t.Context(), http.MethodPost, "/do", map[string]string{"password": "geheim"}, nil)
			var status interface{ Status() int }
			if err == nil || err.Error() != tt.want || !errors.As(err, &status) || status.Status() != http.StatusConflict {
				t.Errorf("error %v, want %q with its status", err, tt.want)
			}
		})
	}
}

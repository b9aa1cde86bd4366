package proxy

import (
	"net/url"
	"strings"
)

// crooked says what is wrong with the path of a request, in a few words, or
// nothing. Those behind us read paths in ways of their own: one resolves dots,
// another merges slashes, a third takes a backslash for a slash. What two of
// us could understand differently is refused instead of guessed at, so that
// the row of the table that we chose is the one that is served.
func crooked(u *url.URL) string {
	if !strings.HasPrefix(u.Path, "/") {
		return "no path"
	}
	for i := range len(u.Path) {
		switch c := u.Path[i]; {
		case c < ' ' || c == 0x7f:
			return "control character"
		case c == '\\':
			return "backslash"
		}
	}
	if strings.Contains(u.Path, "//") {
		return "double slash"
	}
	for segment := range strings.SplitSeq(u.Path, "/") {
		name, _, _ := strings.Cut(segment, ";") // some servers take what follows for a parameter
		if name == "." || name == ".." {
			return "dot segment"
		}
	}
	// An encoded slash is a letter of a name to some and a slash to others.
	// Where that makes no difference to the route it may pass.
	if masked := mask(u.EscapedPath()); masked != "" && find(masked) != find(u.Path) {
		return "encoded slash"
	}
	return ""
}

// mask returns a path in which the slashes that were encoded are letters, or ""
// if there are none.
func mask(escaped string) string {
	if !strings.Contains(escaped, "%2f") && !strings.Contains(escaped, "%2F") {
		return ""
	}
	path, err := url.PathUnescape(strings.NewReplacer("%2f", "_", "%2F", "_").Replace(escaped))
	if err != nil {
		return "_"
	}
	return path
}

// strip takes prefix off the path of u, in both of its forms. The prefix was
// found in the decoded one and has no letter that needs encoding; somebody may
// still have encoded some, and then the other form cannot be cut: it is made
// anew.
func strip(u *url.URL, prefix string) {
	if prefix == "" {
		return
	}
	u.Path = strings.TrimPrefix(u.Path, prefix)
	if raw, ok := strings.CutPrefix(u.RawPath, prefix); ok {
		u.RawPath = raw
	} else {
		u.RawPath = ""
	}
	if u.Path == "" {
		u.Path, u.RawPath = "/", ""
	}
}

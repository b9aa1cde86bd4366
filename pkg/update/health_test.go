package update

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// prove lets a Prover see one sight after the other, the last one for ever.
func prove(t *testing.T, before map[string]bool, sights ...Sight) (looks int, took time.Duration, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := &Prover{Streak: 5, Every: 2 * time.Second, Limit: 179 * time.Second, Sight: func(context.Context) (Sight, error) {
			s := sights[min(looks, len(sights)-1)]
			looks++
			if s.Well == nil {
				return s, errors.New("systemd does not answer")
			}
			return s, nil
		}}
		began := time.Now()
		err = p.Prove(t.Context(), before)
		took = time.Since(began)
	})
	return looks, took, err
}

func saw(well string, restarts int) Sight {
	return Sight{Well: map[string]string{"page": well}, Restarts: map[string]int{"a.service": restarts}}
}

// Proves UPD-3, and the prototype's defect P8: what cannot be asked, is not there any
// more, or comes and goes is not well.
func TestHealthIsProvenAndNotAssumed(t *testing.T) {
	was := map[string]bool{"page": true}
	good, bad, blind := saw("", 0), saw("answers 500", 0), Sight{}
	gone := Sight{Well: map[string]string{}}
	for name, tc := range map[string]struct {
		before map[string]bool
		sights []Sight
		reason string // empty: it is well
		looks  int
	}{
		"well":                          {was, []Sight{good}, "", 5},
		"well after a while":            {was, []Sight{bad, bad, good}, "", 7},
		"was not well before":           {map[string]bool{"page": false}, []Sight{bad}, "", 5},
		"never well":                    {was, []Sight{bad}, "not well within 2m59s: page: answers 500", 90},
		"cannot be asked":               {was, []Sight{blind}, "systemd does not answer", 90},
		"is gone":                       {was, []Sight{gone}, "page is gone", 90},
		"comes and goes":                {was, []Sight{good, bad, good, bad, good, bad}, "3 times", 6},
		"restarts again and again":      {was, []Sight{good, saw("", 1), saw("", 3)}, "a.service restarts again and again", 3},
		"restarted before, and is fine": {was, []Sight{saw("", 7)}, "", 5},
	} {
		t.Run(name, func(t *testing.T) {
			looks, took, err := prove(t, tc.before, tc.sights...)
			if (err == nil) != (tc.reason == "") || err != nil && !strings.Contains(err.Error(), tc.reason) {
				t.Errorf("%v, want %q", err, tc.reason)
			}
			if looks != tc.looks || took > 3*time.Minute {
				t.Errorf("%d looks in %s, want %d", looks, took, tc.looks)
			}
		})
	}
}

// Proves UPD-3: what is said at the end is what was wrong, not that the last look was
// cut off.
func TestALookThatTheLimitCutsOffSaysNothing(t *testing.T) {
	was := map[string]bool{"page": true}
	for name, tc := range map[string]struct {
		seen   []Sight // before it hangs
		reason string
	}{
		"not well": {[]Sight{saw("answers 500", 0)}, "not well within 1m0s: page: answers 500"},
		"well":     {[]Sight{saw("", 0), saw("", 0)}, "not well within 1m0s: well 2 of 5 times in a row"},
		"blind":    {nil, "not well within 1m0s: the machine could not be looked at"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				looks := 0
				p := &Prover{Streak: 5, Every: 2 * time.Second, Limit: time.Minute, Sight: func(ctx context.Context) (Sight, error) {
					if looks++; looks <= len(tc.seen) {
						return tc.seen[looks-1], nil
					}
					<-ctx.Done()
					return Sight{}, ctx.Err()
				}}
				if err := p.Prove(t.Context(), was); err == nil || err.Error() != tc.reason {
					t.Errorf("%v, want %q", err, tc.reason)
				}
			})
		})
	}
}

package auth

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/crypto/bcrypt"
)

const good = "Sesam-Öffne-Dich-1"

var home = Client{Address: netip.MustParseAddr("192.168.1.10"), Agent: "Firefox"}

// newGate returns one with an admin, who has just come in.
func newGate(t *testing.T) (*Gate, *memory, Entry) {
	t.Helper()
	m := &memory{}
	g, err := New(Options{
		Store: m, SessionKey: bytes.Repeat([]byte{1}, 32), FactorKey: bytes.Repeat([]byte{2}, 32), Machine: "box", Cost: bcrypt.MinCost,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Reset(context.Background(), good); err != nil {
		t.Fatal(err)
	}
	e, err := g.Login(context.Background(), Admin, good, "", home)
	if err != nil {
		t.Fatal(err)
	}
	return g, m, e
}

// Proves AUTH-1: it takes one hash to say no, whatever is wrong.
func TestAnUnknownNameTakesAsLongAsAWrongPassword(t *testing.T) {
	g, _, _ := newGate(t)
	for _, try := range [][2]string{{Admin, "Wrong-one-1"}, {"nobody", "Wrong-one-1"}, {"nobody", good}, {"", good}} {
		before := g.hasher.done.Load()
		_, err := g.Login(context.Background(), try[0], try[1], "", home)
		if !errors.Is(err, ErrCredentials) || g.hasher.done.Load()-before != 1 {
			t.Errorf("%q: %v after %d hashes", try, err, g.hasher.done.Load()-before)
		}
	}
}

// Proves AUTH-2: each row is a token that somebody made up.
func TestForgedTokensAreRefused(t *testing.T) {
	g, _, e := newGate(t)
	ctx := context.Background()
	if s, err := g.Session(ctx, e.Token, ""); err != nil || s.ID != e.Session.ID {
		t.Fatal(err)
	}
	now := time.Now()
	sound := jwt.MapClaims{
		"iss": "arasul", "aud": "session", "sub": Admin, "jti": e.Session.ID,
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	}
	with := func(key string, value any) jwt.MapClaims {
		c := jwt.MapClaims{}
		for k, v := range sound {
			c[k] = v
		}
		c[key] = value
		if value == nil {
			delete(c, key)
		}
		return c
	}
	sign := func(method jwt.SigningMethod, key any, claims jwt.Claims) string {
		token, err := jwt.NewWithClaims(method, claims).SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	ours := g.sessions.key
	if _, err := g.Session(ctx, sign(jwt.SigningMethodHS256, ours, sound), ""); err != nil {
		t.Fatalf("the table is of no use: %v", err)
	}
	parts := strings.Split(e.Token, ".")
	for name, token := range map[string]string{
		"nothing":             "",
		"no token":            "admin",
		"alg none":            sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, sound),
		"no signature":        parts[0] + "." + parts[1] + ".",
		"alg none, signed":    base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + parts[1] + "." + parts[2],
		"alg nOnE":            base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"nOnE"}`)) + "." + parts[1] + ".",
		"another key":         sign(jwt.SigningMethodHS256, bytes.Repeat([]byte{9}, 32), sound),
		"an empty key":        sign(jwt.SigningMethodHS256, []byte{}, sound),
		"the key underived":   sign(jwt.SigningMethodHS256, bytes.Repeat([]byte{1}, 32), sound),
		"the devices' key":    sign(jwt.SigningMethodHS256, g.devices.key, sound),
		"another method":      sign(jwt.SigningMethodHS512, ours, sound),
		"a device's token":    e.Device,
		"expired":             sign(jwt.SigningMethodHS256, ours, with("exp", now.Add(-time.Second).Unix())),
		"no expiry":           sign(jwt.SigningMethodHS256, ours, with("exp", nil)),
		"not yet":             sign(jwt.SigningMethodHS256, ours, with("nbf", now.Add(time.Minute).Unix())),
		"no beginning":        sign(jwt.SigningMethodHS256, ours, with("nbf", nil)),
		"another issuer":      sign(jwt.SigningMethodHS256, ours, with("iss", "evil")),
		"no issuer":           sign(jwt.SigningMethodHS256, ours, with("iss", nil)),
		"for a device":        sign(jwt.SigningMethodHS256, ours, with("aud", "device")),
		"for nothing":         sign(jwt.SigningMethodHS256, ours, with("aud", nil)),
		"no id":               sign(jwt.SigningMethodHS256, ours, with("jti", nil)),
		"an unknown id":       sign(jwt.SigningMethodHS256, ours, with("jti", "x")),
		"of somebody else":    sign(jwt.SigningMethodHS256, ours, with("sub", "root")),
		"of nobody":           sign(jwt.SigningMethodHS256, ours, with("sub", nil)),
		"numbers as names":    sign(jwt.SigningMethodHS256, ours, with("sub", 1)),
		"endless":             e.Token + strings.Repeat("x", maxTokenBytes),
		"with blanks":         " " + e.Token,
		"the signature again": e.Token + "." + parts[2],
	} {
		if _, err := g.Session(ctx, token, ""); !errors.Is(err, ErrCredentials) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Proves AUTH-2: a day, and not longer.
func TestASessionEndsAfterADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, m, e := newGate(t)
		time.Sleep(24*time.Hour - 2*time.Second)
		if _, err := g.Session(context.Background(), e.Token, ""); err != nil {
			t.Error(err)
		}
		if got := time.Since(m.sessions[0].LastUsedAt); got != 0 {
			t.Errorf("last used %v ago", got)
		}
		time.Sleep(3 * time.Second)
		if _, err := g.Session(context.Background(), e.Token, ""); !errors.Is(err, ErrCredentials) {
			t.Error(err)
		}
	})
}

func TestASetupCodeEndsAfterADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, m, _ := newGate(t)
		m.account = nil
		ctx := context.Background()
		first, _, err := g.NewSetupCode(ctx)
		if err != nil {
			t.Fatal(err)
		}
		code, expires, err := g.NewSetupCode(ctx)
		if err != nil || time.Until(expires) > 24*time.Hour {
			t.Fatal(expires, err)
		}
		if _, err := g.Setup(ctx, first, good, home); !errors.Is(err, ErrCredentials) {
			t.Errorf("the code before: %v", err)
		}
		time.Sleep(24 * time.Hour)
		if _, err := g.Setup(ctx, code, good, home); !errors.Is(err, ErrCredentials) {
			t.Errorf("a day later: %v", err)
		}
		if _, err := g.Setup(ctx, "", good, home); !errors.Is(err, ErrCredentials) {
			t.Errorf("no code: %v", err)
		}
	})
}

// Proves AUTH-1: it is over after 15 minutes, and refusals do not make it longer.
func TestALockEndsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _, _ := newGate(t)
		ctx := context.Background()
		for range 5 {
			_, _ = g.Login(ctx, Admin, "Wrong-one-1", "", home)
		}
		var lock *LockedError
		for range 14 {
			hashes := g.hasher.done.Load()
			if _, err := g.Login(ctx, Admin, good, "", home); !errors.As(err, &lock) || g.hasher.done.Load() != hashes {
				t.Fatalf("%v after %d hashes", err, g.hasher.done.Load()-hashes)
			}
			time.Sleep(time.Minute)
		}
		time.Sleep(time.Until(lock.Until))
		if _, err := g.Login(ctx, Admin, good, "", home); err != nil {
			t.Error(err)
		}
	})
}

// A store that does not answer lets nobody in, and counts as nobody's failure.
func TestAStoreThatIsAwayLetsNobodyIn(t *testing.T) {
	g, m, e := newGate(t)
	m.broken = errors.New("away")
	if _, err := g.Session(context.Background(), e.Token, ""); !errors.Is(err, m.broken) {
		t.Error(err)
	}
	if _, err := g.Login(context.Background(), Admin, good, "", home); !errors.Is(err, m.broken) {
		t.Error(err)
	}
	if _, _, err := g.NewSetupCode(context.Background()); !errors.Is(err, m.broken) {
		t.Error(err)
	}
}

func TestSessionsAreBounded(t *testing.T) {
	g, m, _ := newGate(t)
	for range mostSessions + 5 {
		if _, err := g.Login(context.Background(), Admin, good, "", home); err != nil {
			t.Fatal(err)
		}
	}
	if len(m.sessions) != mostSessions {
		t.Errorf("%d sessions", len(m.sessions))
	}
}

// RFC 6238, appendix B, of which the last six digits are ours.
func TestCodesAreThoseOfTheRFC(t *testing.T) {
	secret := []byte("12345678901234567890")
	for at, want := range map[int64]string{
		59: "287082", 1111111109: "081804", 1111111111: "050471", 1234567890: "005924", 2000000000: "279037", 20000000000: "353130",
	} {
		if got := TOTPCode(secret, totpStep(time.Unix(at, 0))); got != want {
			t.Errorf("at %d: %s, want %s", at, got, want)
		}
	}
	now := time.Unix(1234567890, 0)
	for off, want := range map[int64]bool{-2: false, -1: true, 0: true, 1: true, 2: false} {
		if _, ok := step(secret, TOTPCode(secret, totpStep(now)+off), now); ok != want {
			t.Errorf("%d steps off: %v", off, ok)
		}
	}
	if _, ok := step(secret, "", now); ok {
		t.Error("no code is a code")
	}
}

func TestASecretOfAnotherUserOrKeyDoesNotOpen(t *testing.T) {
	one, err := newBox(bytes.Repeat([]byte{1}, 32))
	if err != nil {
		t.Fatal(err)
	}
	other, err := newBox(bytes.Repeat([]byte{2}, 32))
	if err != nil {
		t.Fatal(err)
	}
	sealed := one.shut("admin", []byte("secret"))
	if plain, err := one.open("admin", sealed); err != nil || string(plain) != "secret" {
		t.Errorf("%q, %v", plain, err)
	}
	for name, open := range map[string]func() ([]byte, error){
		"another user": func() ([]byte, error) { return one.open("root", sealed) },
		"another key":  func() ([]byte, error) { return other.open("admin", sealed) },
		"a changed one": func() ([]byte, error) {
			return one.open("admin", append(bytes.Clone(sealed[:len(sealed)-1]), sealed[len(sealed)-1]^1))
		},
		"none": func() ([]byte, error) { return one.open("admin", nil) },
	} {
		if plain, err := open(); err == nil || plain != nil {
			t.Errorf("%s: %q", name, plain)
		}
	}
}

func TestCodesCanBeTypedByHand(t *testing.T) {
	code := newCode(setupCodeLength)
	if len(code) != 14 || strings.Trim(code, "0123456789ABCDEFGHJKMNPQRSTVWXYZ-") != "" {
		t.Errorf("code %q", code)
	}
	for _, as := range []string{"o1l0-IL23-abcd", "0110 1123 ABCD", "01101123ABCD"} {
		if typed(as) != "01101123ABCD" {
			t.Errorf("%q is %q", as, typed(as))
		}
	}
	if typed(strings.Repeat("A", 100)) != "" {
		t.Error("a long one is taken")
	}
}

func TestShortKeysAreRefusedUnquoted(t *testing.T) {
	_, err := New(Options{Store: &memory{}, SessionKey: []byte("missing"), FactorKey: make([]byte, 32)})
	if err == nil || strings.Contains(fmt.Sprint(err), "missing") {
		t.Error(err)
	}
}

// Proves AUTH-1: what was stolen with the old password is a stranger's after it.
func TestANewPasswordMakesOldDevicesStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, m, e := newGate(t)
		if g.device(*m.account, e.Device) == "" {
			t.Error("the device is a stranger from the start")
		}
		time.Sleep(2 * time.Second)
		device, _, err := g.ChangePassword(context.Background(), e.Session, good, "Karavane-zieht-fort-2", home)
		if err != nil {
			t.Fatal(err)
		}
		if g.device(*m.account, e.Device) != "" || g.device(*m.account, device) == "" || g.device(Account{User: "other"}, device) != "" {
			t.Error("the wrong devices are known")
		}
	})
}

package auth

import (
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	issuer        = "arasul"
	sessionLife   = 24 * time.Hour
	clockWent     = time.Minute // back, since the token was made
	maxTokenBytes = 1024
)

// DeviceLife is how long a device stays known: longer no browser keeps a cookie.
const DeviceLife = 400 * 24 * time.Hour

// What a token is for. Each purpose has a key of its own.
const (
	forSession = "session"
	forDevice  = "device"
)

var errToken = errors.New("not a token of ours")

// tokens makes and reads the tokens of one purpose.
type tokens struct {
	purpose string
	key     []byte
}

func (t tokens) make(user, id string, at, expires time.Time) (string, error) {
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.RegisteredClaims{
		Issuer: issuer, Audience: jwt.ClaimStrings{t.purpose}, Subject: user, ID: id,
		IssuedAt: jwt.NewNumericDate(at), NotBefore: jwt.NewNumericDate(at.Add(-clockWent)), ExpiresAt: jwt.NewNumericDate(expires),
	}).SignedString(t.key)
	if err != nil {
		return "", fmt.Errorf("signing token: %w", err)
	}
	return token, nil
}

// read returns whose token this is. Its error says nothing of the token.
func (t tokens) read(token string) (user, id string, at time.Time, err error) {
	var c jwt.RegisteredClaims
	if len(token) > maxTokenBytes {
		return "", "", time.Time{}, errToken
	}
	_, err = jwt.ParseWithClaims(token, &c, func(*jwt.Token) (any, error) { return t.key, nil },
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}), jwt.WithIssuer(issuer), jwt.WithAudience(t.purpose),
		jwt.WithExpirationRequired(), jwt.WithNotBeforeRequired(), jwt.WithStrictDecoding())
	if err != nil || c.ID == "" || c.Subject == "" || c.IssuedAt == nil {
		return "", "", time.Time{}, errToken
	}
	return c.Subject, c.ID, c.IssuedAt.Time, nil
}

//go:build machine

package proof

import "testing"

// attacks are what somebody tries who should not come in. Each is done to the
// booted machine through port 443, on the daemons of the package, and leaves the
// door as it was; each runs alone: -run 'TestAttacks/session_fixation'.
var attacks = []struct {
	name string
	try  func(*testing.T, *bed)
}{
	// attacks_login_test.go: guessing, and locking others out.
	{"brute force from one address", bruteForceFromOneAddress},
	{"brute force from many addresses", bruteForceFromManyAddresses},
	{"brute force from one network of many addresses", bruteForceFromOneNetwork},
	{"lockout abuse from the owner's own address", lockoutFromTheOwnersAddress},
	{"a made up device", aMadeUpDevice},
	{"unknown user versus wrong password", unknownUserVersusWrongPassword},
	{"setting up a second time", settingUpASecondTime},
	{"a password over the plain port", aPasswordOverThePlainPort},
	{"a password longer than bcrypt reads", aPasswordLongerThanBcryptReads},
	{"a one-time code overheard", aOneTimeCodeOverheard},

	// attacks_token_test.go: tokens that are somebody else's, or nobody's.
	{"session fixation", sessionFixation},
	{"stolen token after logout", stolenTokenAfterLogout},
	{"stolen token after logout everywhere", stolenTokenAfterLogoutEverywhere},
	{"stolen token after a new password", stolenTokenAfterANewPassword},
	{"stolen token after the session was ended", stolenTokenAfterTheSessionWasEnded},
	{"forged tokens", forgedTokens},
	{"password change without the password", passwordChangeWithoutThePassword},

	// attacks_claim_test.go: saying to be somebody, or somewhere.
	{"forged identity in headers", forgedIdentity},
	{"forged address in headers", forgedAddress},
	{"forged address against the limits", forgedAddressAgainstTheLimits},
	{"the console from outside", theConsoleFromOutside},
	{"the console as another user of the machine", theConsoleAsAnotherUser},
	{"a public address", aPublicAddress},
	{"the local network without a login", theLocalNetworkWithoutALogin},

	// attacks_site_test.go: through the owner's browser.
	{"CSRF by form", csrfByForm},
	{"CSRF by fetch", csrfByFetch},
	{"CSRF by link", csrfByLink},
	{"WebSocket from another site", webSocketFromAnotherSite},
	{"reading from another site", readingFromAnotherSite},
	{"Host header tricks", hostHeaderTricks},
	{"DNS rebinding", dnsRebinding},
	{"open redirects", openRedirects},
	{"framing", framing},

	// attacks_wire_test.go: HTTP that is none.
	{"request smuggling", requestSmuggling},
	{"path tricks", pathTricks},
	{"oversized bodies", oversizedBodies},
	{"oversized headers", oversizedHeaders},
	{"slow clients", slowClients},
	{"old TLS", oldTLS},

	// attacks_words_test.go: words that mean something to what reads them.
	{"log injection", logInjection},
	{"SQL in every parameter", sqlInEveryParameter},

	// attacks_secrets_test.go
	{"looking for secrets", lookingForSecrets},
}

// Proves AUTH-1, AUTH-2, AUTH-4, AUTH-5, AUTH-6, AUTH-7 and PROXY-3.
func TestAttacks(t *testing.T) {
	b := takeGuarded(t)
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			b := b.of(t)
			t.Cleanup(b.unlock)
			a.try(t, b)
			if t.Failed() {
				t.Logf("the door said:\n%s", b.run("journalctl", "--no-pager", "--lines=20", "--output=cat",
					"--unit=arasul-proxy", "--unit=arasul-dashboard"))
			}
		})
	}
	if restarts := b.property("arasul-proxy.service", "NRestarts") + b.property(dashboardUnit, "NRestarts"); restarts != "00" {
		t.Errorf("an attack brought a daemon down: %s restarts", restarts)
	}
}

package api

import "time"

// Who issued the certificate that the page is shown with.
const (
	IssuerLocal = "local" // this machine's own authority, which devices have to be told to trust
	IssuerACME  = "acme"  // Let's Encrypt or another public authority
	IssuerOwn   = "own"   // whoever made the files in /etc/arasul/tls
)

// Certificates is what browsers see of this machine, and what they have to
// trust to see it without a warning.
type Certificates struct {
	CA          *CertificateAuthority `json:"ca,omitempty" doc:"This machine's own authority; absent until it was made"`
	Certificate *Certificate          `json:"certificate,omitempty" doc:"What a visitor gets who asks for the machine's own name; absent until there is one"`
	Ready       bool                  `json:"ready" doc:"There is a certificate that is valid now, so that the page is there over https"`
	Time        time.Time             `json:"timestamp"`
}

// CertificateAuthority is the root that this machine issues its own certificate
// from. Compare the fingerprint with the one on the machine's console before
// trusting it.
type CertificateAuthority struct {
	Subject     string    `json:"subject" example:"CN=Arasul arasul 7F3A"`
	Fingerprint string    `json:"fingerprint_sha256" example:"3F:9A:…" doc:"SHA-256 of the certificate in DER, in pairs of capital hexadecimal digits with colons"`
	NotBefore   time.Time `json:"not_before"`
	NotAfter    time.Time `json:"not_after"`
}

// Certificate is the certificate in use.
type Certificate struct {
	Names       []string  `json:"names" example:"[\"arasul.local\",\"localhost\"]"`
	Addresses   []string  `json:"addresses" example:"[\"192.168.1.20\"]"`
	Issuer      string    `json:"issuer" enum:"local,acme,own"`
	Fingerprint string    `json:"fingerprint_sha256" doc:"As the authority's"`
	NotBefore   time.Time `json:"not_before"`
	NotAfter    time.Time `json:"not_after"`
}

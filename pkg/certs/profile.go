package certs

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"text/template"
)

// profile is what iPhones, iPads and Macs install. It is not signed: there is
// nobody whose signature they would know.
var profile = template.Must(template.New("mobileconfig").Parse(`<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
	<key>PayloadContent</key>
	<array>
		<dict>
			<key>PayloadCertificateFileName</key>
			<string>arasul-ca.crt</string>
			<key>PayloadContent</key>
			<data>{{range .Lines}}
			{{.}}{{end}}
			</data>
			<key>PayloadDisplayName</key>
			<string>{{html .Name}}</string>
			<key>PayloadIdentifier</key>
			<string>de.arasul.ca.{{.Certificate}}</string>
			<key>PayloadType</key>
			<string>com.apple.security.root</string>
			<key>PayloadUUID</key>
			<string>{{.Certificate}}</string>
			<key>PayloadVersion</key>
			<integer>1</integer>
		</dict>
	</array>
	<key>PayloadDescription</key>
	<string>Lets this device trust your Arasul appliance. Lässt dieses Gerät Ihrer Arasul-Box vertrauen. SHA-256: {{.Fingerprint}}</string>
	<key>PayloadDisplayName</key>
	<string>{{html .Name}}</string>
	<key>PayloadIdentifier</key>
	<string>de.arasul.profile.{{.Profile}}</string>
	<key>PayloadRemovalDisallowed</key>
	<false/>
	<key>PayloadType</key>
	<string>Configuration</string>
	<key>PayloadUUID</key>
	<string>{{.Profile}}</string>
	<key>PayloadVersion</key>
	<integer>1</integer>
</dict>
</plist>
`))

// Profile is the root as a configuration profile for Apple's devices. The same
// root gives the same profile, so that installing it twice makes no second one.
func Profile(root *x509.Certificate) ([]byte, error) {
	var b bytes.Buffer
	err := profile.Execute(&b, map[string]any{
		"Lines":       base64Lines(root.Raw),
		"Name":        root.Subject.CommonName,
		"Fingerprint": Fingerprint(root),
		"Certificate": uuid("certificate", root.Raw),
		"Profile":     uuid("profile", root.Raw),
	})
	if err != nil {
		return nil, fmt.Errorf("writing profile: %w", err)
	}
	return b.Bytes(), nil
}

// uuid makes an identifier of a name and data (RFC 9562, version 8).
func uuid(name string, data []byte) string {
	u := sha256.Sum256(append([]byte(name+"\x00"), data...))
	u[6], u[8] = u[6]&0x0f|0x80, u[8]&0x3f|0x80
	return fmt.Sprintf("%X-%X-%X-%X-%X", u[:4], u[4:6], u[6:8], u[8:10], u[10:16])
}

// base64Lines is data as Apple's tools write it.
func base64Lines(data []byte) []string {
	const width = 64
	text := base64.StdEncoding.EncodeToString(data)
	var lines []string
	for len(text) > width {
		lines, text = append(lines, text[:width]), text[width:]
	}
	return append(lines, text)
}

package proxy

import (
	"encoding/xml"
	"net/http"
	"strings"
)

// signed says whether a request carries a signature of S3, in its headers or
// its query. A signature covers the path, and under /minio-api the path
// changes on the way, so that it cannot hold.
func signed(r *http.Request) bool {
	if scheme := strings.ToUpper(r.Header.Get("Authorization")); strings.HasPrefix(scheme, "AWS") {
		return true
	}
	for name := range r.Header {
		if strings.HasPrefix(name, "X-Amz-Security-Token") || strings.HasPrefix(name, "X-Amz-Signature") {
			return true
		}
	}
	for name := range r.URL.Query() {
		switch strings.ToLower(name) {
		case "x-amz-signature", "x-amz-credential", "x-amz-algorithm", "x-amz-security-token", "signature", "awsaccesskeyid":
			return true
		}
	}
	return false
}

// mayFetch says whether a request to S3 under our own host name may pass: only
// reading, only unsigned, and of MinIO's own paths only its health.
func (p *Proxy) mayFetch(t *route, r *http.Request) (reply, bool) {
	if t.to != storage || t == &storageRoute {
		return reply{}, true
	}
	path := strings.TrimPrefix(r.URL.Path, t.strip)
	switch {
	case signed(r):
		return elsewhere, false
	case r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodOptions:
		return notAllowed, false
	case strings.HasPrefix(path, "/minio") && !strings.HasPrefix(path, "/minio/health/"):
		if path == "/minio" || strings.HasPrefix(path, "/minio/") {
			return notFound, false
		}
	}
	r.Header.Del("Authorization") // ours, or nobody's
	return reply{}, true
}

// storageError is an error as clients of S3 read it.
type storageError struct {
	XMLName  xml.Name `xml:"Error"`
	Code     string
	Message  string
	Endpoint string `xml:",omitempty"`
	Resource string
}

// storageCodes are S3's words for our answers; where it has none, the status
// says enough.
var storageCodes = map[int]string{
	http.StatusBadRequest:            "InvalidRequest",
	http.StatusForbidden:             "AccessDenied",
	http.StatusNotFound:              "NoSuchKey",
	http.StatusMethodNotAllowed:      "MethodNotAllowed",
	http.StatusRequestTimeout:        "RequestTimeout",
	http.StatusRequestEntityTooLarge: "EntityTooLarge",
	http.StatusTooManyRequests:       "SlowDown",
	http.StatusServiceUnavailable:    "ServiceUnavailable",
	http.StatusGatewayTimeout:        "ServiceUnavailable",
}

func answerStorage(w http.ResponseWriter, r *http.Request, a reply, about, endpoint string) {
	e := storageError{Code: storageCodes[a.status], Message: a.english(about), Resource: r.URL.Path}
	if e.Code == "" {
		e.Code = "InternalError"
	}
	if a.kind == elsewhere.kind {
		e.Endpoint = endpoint
		e.Message = strings.TrimSpace(e.Message + " " + endpoint)
	}
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(a.status)
	text, _ := xml.Marshal(e)
	_, _ = w.Write(append([]byte(xml.Header), text...))
}

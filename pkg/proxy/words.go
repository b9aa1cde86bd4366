package proxy

import (
	"net/http"
	"strings"

	"github.com/arasul/arasul/pkg/api"
)

// words is what we say to people in one language. A $ stands for the part of
// the appliance that it is about.
type words struct{ Title, Text string }

// reply is an answer on our own behalf.
type reply struct {
	status int
	kind   string // the last part of the problem's type
	reload int    // seconds after which trying again is worth it; 0: it is not
	en, de words
}

// steps are those of an update in people's words, English and German.
var steps = map[string][2]string{
	"preflight": {"looking whether all is ready", "es wird geprüft, ob alles bereit ist"},
	"keep":      {"keeping what is there", "was da ist, wird aufgehoben"},
	"load":      {"unpacking applications", "Anwendungen werden entpackt"},
	"quiesce":   {"stopping services", "Dienste werden angehalten"},
	"snapshot":  {"copying the database", "die Datenbank wird kopiert"},
	"install":   {"installing", "die neue Version wird installiert"},
	"migrate":   {"adapting the database", "die Datenbank wird angepasst"},
	"switch":    {"switching over", "es wird umgeschaltet"},
	"start":     {"starting services", "Dienste werden gestartet"},
	"probation": {"looking whether all is well", "es wird geprüft, ob alles gut ist"},
	"commit":    {"finishing", "es wird abgeschlossen"},
	"cleanup":   {"tidying up", "es wird aufgeräumt"},
}

// stepText says what is being done, or undone.
func stepText(run *api.UpdateRun, german bool) string {
	i := map[bool]int{true: 1}[german]
	if run.Back {
		return [2]string{"going back to the version before", "es geht zurück zur vorigen Version"}[i]
	}
	return steps[run.Step][i]
}

func (a reply) english(about string) string {
	return strings.ReplaceAll(a.en.Text, "$", parts[about][0])
}

// parts are the upstreams in people's words, English and German.
var parts = map[string][2]string{
	dashboard:  {"The dashboard", "Die Oberfläche"},
	assistant:  {"The dashboard", "Die Oberfläche"},
	n8n:        {"The workflow service (n8n)", "Der Workflow-Dienst (n8n)"},
	console:    {"The object storage (MinIO)", "Der Objektspeicher (MinIO)"},
	storage:    {"The object storage (MinIO)", "Der Objektspeicher (MinIO)"},
	llm:        {"The language model (Ollama)", "Das Sprachmodell (Ollama)"},
	embeddings: {"The embedding model (Ollama)", "Das Embedding-Modell (Ollama)"},
}

var (
	away = reply{http.StatusServiceUnavailable, "starting", 2,
		words{"One moment, please", "$ is starting again. This page reloads by itself."},
		words{"Einen Moment bitte", "$ startet gerade neu. Diese Seite lädt sich von selbst neu."}}
	absent = reply{http.StatusServiceUnavailable, "not-there", 10,
		words{"Not there yet", "$ is not set up on this appliance yet, or is starting for the first time. The start page shows what is missing. This page reloads by itself."},
		words{"Noch nicht da", "$ ist auf diesem Gerät noch nicht eingerichtet oder startet gerade zum ersten Mal. Die Startseite zeigt, was fehlt. Diese Seite lädt sich von selbst neu."}}
	updating = reply{http.StatusServiceUnavailable, "updating", 3,
		words{"An update is running", "This appliance is being updated. It takes a few minutes; please leave it switched on. This page reloads by itself."},
		words{"Ein Update läuft", "Dieses Gerät wird gerade aktualisiert. Das dauert einige Minuten; bitte lassen Sie es eingeschaltet. Diese Seite lädt sich von selbst neu."}}
	unsure = reply{http.StatusServiceUnavailable, "starting", 2,
		words{"One moment, please", "Whether you are logged in cannot be checked at the moment. This page reloads by itself."},
		words{"Einen Moment bitte", "Ob Sie angemeldet sind, lässt sich gerade nicht prüfen. Diese Seite lädt sich von selbst neu."}}
	late = reply{http.StatusGatewayTimeout, "timeout", 0,
		words{"This takes too long", "$ did not answer in time."},
		words{"Das dauert zu lange", "$ hat nicht rechtzeitig geantwortet."}}
	tooMany = reply{http.StatusTooManyRequests, "too-many-requests", 0,
		words{"Too many requests", "This appliance was asked too often in a short time. Please wait a little and try again."},
		words{"Zu viele Anfragen", "Dieses Gerät wurde in kurzer Zeit zu oft gefragt. Bitte warten Sie ein wenig und versuchen Sie es noch einmal."}}
	tooManyAtOnce = reply{http.StatusTooManyRequests, "too-many-at-once", 0,
		words{"Too much at once", "Too many requests from your device are still being answered. Please wait until some are done."},
		words{"Zu viel auf einmal", "Zu viele Anfragen Ihres Geräts werden noch beantwortet. Bitte warten Sie, bis einige davon fertig sind."}}
	misdirected = reply{http.StatusMisdirectedRequest, "not-under-this-name", 0,
		words{"Not under this name", "This appliance does not answer to the name in the address bar. Use its own name, such as arasul.local, or its IP address. An administrator can add names in /etc/arasul/arasul.toml, [proxy] hosts."},
		words{"Nicht unter diesem Namen", "Dieses Gerät hört nicht auf den Namen in der Adresszeile. Verwenden Sie seinen eigenen Namen, etwa arasul.local, oder seine IP-Adresse. Weitere Namen trägt der Administrator in /etc/arasul/arasul.toml unter [proxy] hosts ein."}}
	badBody = reply{http.StatusBadRequest, "bad-body", 0,
		words{"Not understood", "What was sent arrived garbled."},
		words{"Nicht verstanden", "Was gesendet wurde, kam unverständlich an."}}
	tooLarge = reply{http.StatusRequestEntityTooLarge, "too-large", 0,
		words{"Too large", "What was sent is larger than this appliance accepts."},
		words{"Zu groß", "Das Gesendete ist größer, als dieses Gerät annimmt."}}
	tooSlow = reply{http.StatusRequestTimeout, "too-slow", 0,
		words{"Too slow", "What was sent did not arrive in time."},
		words{"Zu langsam", "Das Gesendete ist nicht rechtzeitig angekommen."}}
	notAllowed = reply{http.StatusMethodNotAllowed, "method-not-allowed", 0,
		words{"Not possible", "This cannot be done under this address."},
		words{"Nicht möglich", "Das ist unter dieser Adresse nicht möglich."}}
	notFound = reply{http.StatusNotFound, "not-found", 0,
		words{"Nothing here", "There is nothing under this address."},
		words{"Hier ist nichts", "Unter dieser Adresse gibt es nichts."}}
	badPath = reply{http.StatusBadRequest, "bad-path", 0,
		words{"Not an address of ours", "The address is written in a way that this appliance does not accept."},
		words{"Keine Adresse dieses Geräts", "Die Adresse ist so geschrieben, dass dieses Gerät sie nicht annimmt."}}
	crossSite = reply{http.StatusForbidden, "cross-site", 0,
		words{"Not from another site", "Another site asked for this in your name. It was refused."},
		words{"Nicht von einer anderen Seite", "Eine andere Seite hat das in Ihrem Namen verlangt. Es wurde abgelehnt."}}
	adminOnly = reply{http.StatusForbidden, "admin-only", 0,
		words{"For the administrator", "Only the administrator may do this."},
		words{"Nur für den Administrator", "Das darf nur der Administrator."}}
	elsewhere = reply{http.StatusBadRequest, "other-endpoint", 0,
		words{"At another address", "Signed requests are not possible under this path: the signature covers it. Use the object storage's own endpoint:"},
		words{"Unter einer anderen Adresse", "Signierte Anfragen sind unter diesem Pfad nicht möglich: Er ist Teil der Signatur. Der Objektspeicher hat eine eigene Adresse:"}}
)

// replies is all of them.
var replies = []reply{away, absent, updating, unsure, late, tooMany, tooManyAtOnce, misdirected, tooLarge, tooSlow, notAllowed, notFound, badPath, crossSite, adminOnly, elsewhere}

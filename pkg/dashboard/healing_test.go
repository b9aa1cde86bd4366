package dashboard

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

func TestIncidentsComeInPages(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 123456789, time.UTC)
	inDatabase := &recorded{}
	for n := range 5 {
		i := incident(fmt.Sprint(5-n), at.Add(-time.Duration(n)*time.Second))
		i.FaultAt = i.FaultAt.Truncate(time.Microsecond)
		inDatabase.incidents = append(inDatabase.incidents, i)
	}
	d := newDashboard(t, Options{Database: inDatabase})
	// In memory with all its nanoseconds; closed meanwhile, which the database does not know yet.
	newest := incident("5", at)
	newest.State = api.IncidentExhausted
	d.OnIncident(newest)

	var got []string
	path := "/api/self-healing/events?limit=2"
	for range 3 {
		_, body := ask(t, d, path)
		got = append(got, ids(t, body)...)
		if next, ok := body["next"].(string); ok {
			path = "/api/self-healing/events?limit=2&before=" + next
		} else {
			path = ""
		}
		if len(got) == 2 && body["events"].([]any)[0].(map[string]any)["state"] != "exhausted" {
			t.Error("the database's older knowledge won over memory")
		}
	}
	if want := []string{"5", "4", "3", "2", "1"}; !slices.Equal(got, want) || path != "" {
		t.Errorf("got %v, want %v; next %q", got, want, path)
	}
	// A cursor with nanoseconds from memory does not repeat its own incident.
	_, body := ask(t, d, "/api/self-healing/events?limit=1&before="+at.Format(time.RFC3339Nano))
	if got := ids(t, body); !slices.Equal(got, []string{"4"}) {
		t.Errorf("before the newest: %v", got)
	}
}

func TestIncidentsFallBackToTheHealer(t *testing.T) {
	healer := &recorded{incidents: []api.Incident{incident("h", time.Now())}}
	for name, database := range map[string]*recorded{"broken": {err: errors.New("gone")}, "known to be away": {}} {
		d := newDashboard(t, Options{Database: database, Healer: healer})
		if name == "known to be away" {
			d.OnDatabase(errors.New("gone"))
		}
		_, body := ask(t, d, "/api/self-healing/events")
		if got := ids(t, body); !slices.Equal(got, []string{"h"}) || body["source"] != "healer" {
			t.Errorf("database %s: %v", name, body)
		}
	}
}

// The database and the healer are asked for the same, and memory, which knows
// better what is the case now, is searched like them.
func TestIncidentsAreFoundByWhatTheyAreAbout(t *testing.T) {
	now := time.Now()
	heat := api.Incident{ID: "heat", Rule: "heat", Class: api.ClassOverload, State: api.IncidentActing, FaultAt: now.Add(-time.Minute)}
	closed := incident("closed", now.Add(-time.Hour))
	closed.State, closed.ClosedAt = api.IncidentResolved, new(now.Add(-30*time.Minute))
	open := incident("open", now)
	all := []api.Incident{open, heat, closed}
	inDatabase := slices.Clone(all)
	inDatabase[1].State = api.IncidentOpen // it does not know yet that something is done
	known := &recorded{incidents: inDatabase}
	for name, d := range map[string]*Dashboard{
		"database": newDashboard(t, Options{Database: known}),
		"healer":   newDashboard(t, Options{Healer: known}),
	} {
		for _, i := range all {
			d.OnIncident(i)
		}
		for query, want := range map[string]string{
			"":                           "open heat closed",
			"class=B":                    "heat",
			"rule=down":                  "open closed",
			"unit=arasul-closed.service": "closed",
			"open=true":                  "open heat",
			"state=acting":               "heat", // as memory knows
			"state=open":                 "open",
			"rule=down&open=true":        "open",
			"rule=%27%20OR%20true":       "",
			"since=" + url.QueryEscape(now.Add(-2*time.Minute).Format(time.RFC3339Nano)):  "open heat",
			"before=" + url.QueryEscape(now.Add(-2*time.Minute).Format(time.RFC3339Nano)): "closed",
		} {
			code, body := ask(t, d, "/api/self-healing/events?"+query)
			if got := strings.Join(ids(t, body), " "); code != 200 || got != want {
				t.Errorf("%s, %q: status %d, %q, want %q", name, query, code, got, want)
			}
		}
	}
}

// One reading may break several rules; a page must not end between them.
func TestAPageEndsWithAllOfTheSameInstant(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	healer := &recorded{incidents: []api.Incident{
		incident("b", at.Add(1)), incident("a", at), incident("older", at.Add(-time.Second)), // 1 ns is nothing to the database
	}}
	d := newDashboard(t, Options{Healer: healer})
	_, body := ask(t, d, "/api/self-healing/events?limit=1")
	if got := ids(t, body); !slices.Equal(got, []string{"b", "a"}) {
		t.Errorf("the first page holds %v", got)
	}
	_, body = ask(t, d, fmt.Sprint("/api/self-healing/events?limit=1&before=", body["next"]))
	if got := ids(t, body); !slices.Equal(got, []string{"older"}) {
		t.Errorf("the second page holds %v", got)
	}
}

func TestExplanationIsTheHealersAsLongAsItRemembers(t *testing.T) {
	known := incident("20260301T100000-17", time.Now())
	known.Detail = "it crashed"
	healer := &recorded{incidents: []api.Incident{known}}
	d := newDashboard(t, Options{Healer: healer})
	if code, body := ask(t, d, "/api/self-healing/events/20260301T100000-17/explanation"); code != 200 || body["text"] != "because it crashed" {
		t.Errorf("%d %v", code, body)
	}
	for path, want := range map[string]int{"older": 404, strings.Repeat("x", 101): 422, "..%2f..%2fstatus": 404} {
		if code, body := ask(t, d, "/api/self-healing/events/"+path+"/explanation"); code != want {
			t.Errorf("%s: %d %v", path, code, body)
		}
	}
}

func TestStatisticsGoThirtyDaysBackUnlessTold(t *testing.T) {
	database := &recorded{}
	d := newDashboard(t, Options{Database: database})
	day := 24 * time.Hour
	for query, want := range map[string]time.Duration{
		"": 30 * day,
		"?since=" + url.QueryEscape(time.Now().Add(-7*day).Format(time.RFC3339)): 7 * day,
	} {
		_, body := ask(t, d, "/api/self-healing/statistics"+query)
		if got := database.span.Round(time.Hour); got != want || len(body["statistics"].([]any)) != 1 {
			t.Errorf("%q goes back %v: %v", query, got, body)
		}
	}
	d.OnDatabase(errors.New("gone"))
	if code, _ := ask(t, d, "/api/self-healing/statistics"); code != 503 {
		t.Errorf("status %d without the database", code)
	}
}

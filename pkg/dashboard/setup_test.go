package dashboard

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/config"
)

// Proves BOOT-4: the page's answers are judged as the wizard's, and left for root
// alone to take.
func TestAnswersOfThePageAreLeftForRoot(t *testing.T) {
	dir := t.TempDir()
	reports := []string{filepath.Join(dir, "report.json")}
	d := newDashboard(t, Options{Setup: SetupFiles{
		Request: filepath.Join(dir, "setup.json"), Reports: reports,
		Config: func() (*config.Config, error) { return config.Defaults(), nil },
	}})
	_, err := d.answerSetup(t.Context(), &answersInput{api.Answers{Name: "My Box", MinIOPassword: "short"}})
	var p *Problem
	if !errors.As(err, &p) || p.Status != 422 || len(p.Errors) != 2 || p.Errors[0].Location != "body.name" {
		t.Fatalf("%+v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "setup.json")); err == nil {
		t.Fatal("bad answers were left")
	}
	if _, err := d.answerSetup(t.Context(), &answersInput{api.Answers{Name: "box", MinIOPassword: "a-long-password"}}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "setup.json")
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	var a api.Answers
	if text, err := os.ReadFile(path); err != nil || json.Unmarshal(text, &a) != nil || a.Name != "box" {
		t.Errorf("%+v, %v", a, err)
	}
	s, err := d.setUp(t.Context(), nil)
	if err != nil || s.Body.Done || s.Body.Report != nil || len(s.Body.Choices.LLMModels) == 0 {
		t.Errorf("%+v, %v", s, err)
	}
	// While it is being set up nobody begins again.
	running, err := json.Marshal(api.Report{State: "running", Started: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(reports[0], running, 0o600); err != nil {
		t.Fatal(err)
	}
	var answer huma.StatusError
	if _, err := d.request(t.Context(), api.Answers{}); !errors.As(err, &answer) || answer.GetStatus() != 409 {
		t.Errorf("%v", err)
	}
}

func TestThePageSaysWhichImagesAreMissing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "images.json")
	d := newDashboard(t, Options{ImagesState: path})
	if list, err := d.images(t.Context(), nil); err != nil || len(list.Body.Images) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
	text, err := json.Marshal(api.Images{Images: []api.Image{{Name: "n8n", Unit: "arasul-n8n.service", Reason: "there is no image", Fix: "arasul images load"}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if list, err := d.images(t.Context(), nil); err != nil || len(list.Body.Images) != 1 {
		t.Errorf("%+v, %v", list, err)
	}
	d.OnServices([]api.Service{{Unit: "arasul-n8n.service", Status: api.Unknown}})
	if s, err := d.services(t.Context(), nil); err != nil || !strings.Contains(s.Body.Services[0].Reason, "arasul images load") {
		t.Errorf("%+v, %v", s, err)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := d.images(t.Context(), nil); err == nil {
		t.Error("nonsense was passed on")
	}
}

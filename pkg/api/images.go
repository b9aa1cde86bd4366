package api

import "time"

// Images says which container images this machine runs, and which it lacks.
type Images struct {
	Images []Image   `json:"images" doc:"In the order of their start"`
	Podman string    `json:"podman,omitempty" example:"4.3.1" doc:"Its version; absent when there is none"`
	Time   time.Time `json:"timestamp" doc:"When it was last looked"`
}

// Image is what one application runs from. It is run by its ID: a name can come
// to mean another image, an ID cannot.
type Image struct {
	Name      string `json:"name" example:"llm" doc:"Of the application"`
	Unit      string `json:"unit" example:"arasul-llm.service"`
	Reference string `json:"reference" example:"docker.io/ollama/ollama:0.32.15" doc:"Where it can be fetched from"`
	ID        string `json:"id,omitempty" example:"sha256:71ac09f1…" doc:"Of the image that is used; absent when none was chosen"`
	Present   bool   `json:"present" doc:"It is in podman's storage"`
	Kept      bool   `json:"kept" doc:"An archive of it is kept on this machine, to repair it from"`
	SizeBytes int64  `json:"size_bytes,omitempty"`
	Reason    string `json:"reason,omitempty" doc:"Why it cannot be run, in words"`
	Fix       string `json:"suggestion,omitempty" doc:"What to do about it: a command, or what to press"`
	Licence   string `json:"licence,omitempty" doc:"What has to be accepted before it is fetched"`
}

package dashboard

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/arasul/arasul/pkg/api"
)

// maxState bounds the small files that others leave for us to read.
const maxState = 1 << 20

// ImageList is api.Images with the time of the answer.
type ImageList struct {
	Images  []api.Image `json:"images" doc:"In the order of their start"`
	Podman  string      `json:"podman,omitempty" example:"4.3.1" doc:"Its version; absent when there is none"`
	Looked  *time.Time  `json:"looked_at,omitempty" doc:"When it was last looked"`
	Updated time.Time   `json:"timestamp"`
}

func (d *Dashboard) imageOperations(a huma.API) {
	get(a, "images", "system", "/api/images", "Which container images this machine runs, and which it lacks", d.images, 401, 503)
}

func (d *Dashboard) images(context.Context, *struct{}) (*answer[ImageList], error) {
	list := ImageList{Images: []api.Image{}, Updated: time.Now().UTC()}
	var all api.Images
	switch err := readState(d.opts.ImagesState, &all); {
	case errors.Is(err, fs.ErrNotExist): // nobody has looked yet
		return &answer[ImageList]{list}, nil
	case err != nil:
		d.opts.Log.Warn("images unread", "err", err)
		return nil, problemOf(http.StatusServiceUnavailable, "images-unread", "What is known of the images cannot be read.")
	}
	list.Podman, list.Looked = all.Podman, &all.Time
	list.Images = append(list.Images, all.Images...)
	return &answer[ImageList]{list}, nil
}

// readState reads a small JSON file that another process of ours replaces whole.
func readState(path string, v any) error {
	if path == "" {
		return fs.ErrNotExist
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case info.Size() > maxState:
		return errors.New("it is too large")
	}
	data, err := os.ReadFile(path) //nolint:gosec // a path of ours
	if err != nil {
		return err
	}
	return json.Unmarshal(data, v)
}

// missing says of a service that its image is missing, when that is why it does
// not run.
func (d *Dashboard) missing(services []api.Service) []api.Service {
	var all api.Images
	if readState(d.opts.ImagesState, &all) != nil {
		return services
	}
	for i := range services {
		s := &services[i]
		if s.Status == api.Up {
			continue
		}
		for _, image := range all.Images {
			if image.Unit == s.Unit && image.Reason != "" {
				s.Reason = image.Reason + ": " + image.Fix
			}
		}
	}
	return services
}

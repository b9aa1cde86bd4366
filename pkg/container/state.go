package container

import (
	"fmt"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/config"
)

// Storage is what was found of an application's image.
type Storage struct {
	Podman    bool  // it is installed
	Present   bool  // the chosen image is in its storage
	SizeBytes int64 // of it
	Kept      bool  // an archive of it is kept
}

// Judge says whether an application can be run from the image that was chosen,
// empty when none was, and what to do when it cannot.
func Judge(a Application, images config.Images, chosen string, s Storage) api.Image {
	i := api.Image{
		Name: a.Name, Unit: a.Unit(), Reference: a.Reference(images), ID: chosen,
		Present: s.Present, Kept: s.Kept, SizeBytes: s.SizeBytes, Licence: a.Licence,
	}
	switch {
	case !s.Podman:
		i.Reason, i.Fix = "podman is not installed", "sudo apt install podman"
	case chosen == "":
		i.Reason = "there is no image for it yet"
		i.Fix = fmt.Sprintf("sudo arasul images pull %s, or without internet: sudo arasul images load FILE --as %s", a.Name, a.Name)
	case !s.Present:
		i.Reason = "its image is not in podman's storage any more"
		i.Fix = fmt.Sprintf("sudo arasul images pull %s, or without internet: sudo arasul images load FILE --as %s", a.Name, a.Name)
	}
	return i
}

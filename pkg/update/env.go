package update

import "strings"

// setVariables sets the variables of images in the text of images.env, and leaves
// all else as it is.
func setVariables(text string, images []Image) string {
	set := map[string]string{}
	for _, image := range images {
		set[image.Variable] = image.ID
	}
	var out strings.Builder
	for line := range strings.Lines(text) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), "=")
		if id, ok := set[name]; ok {
			line = name + "=" + id + "\n"
			delete(set, name)
		}
		out.WriteString(strings.TrimSuffix(line, "\n") + "\n")
	}
	for _, image := range images {
		if _, missing := set[image.Variable]; missing {
			out.WriteString(image.Variable + "=" + image.ID + "\n")
			delete(set, image.Variable)
		}
	}
	return out.String()
}

// variable reads one of the variables, empty for none.
func variable(text *string, name string) string {
	if text == nil {
		return ""
	}
	for line := range strings.Lines(*text) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+"="); ok {
			return value
		}
	}
	return ""
}

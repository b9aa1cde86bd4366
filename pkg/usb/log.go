package usb

import (
	"errors"
	"fmt"
	"log/slog"
	"os"

	"golang.org/x/sys/unix"
)

// LogPath is the file for those who expect one; the journal has the same.
const LogPath = "/var/log/arasul/update_usb.log"

// MaxLog is how large the log may have become, in bytes. logrotate puts it away
// at this size once a day, which somebody who plugs without end is faster than.
const MaxLog = 50 << 20

// OpenLog opens the file at path for appending, 0640 if it is new. It refuses
// a symbolic link, anything that is not a file with one name, and a file of
// MaxLog or more. The caller closes it.
func OpenLog(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o640) //nolint:gosec // the group adm reads logs
	if err != nil {
		return nil, fmt.Errorf("opening the log: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		f.Close()
		return nil, fmt.Errorf("looking at the log: %w", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Nlink != 1 {
		f.Close()
		return nil, fmt.Errorf("opening the log: %w", errors.New(path+" is not a plain file"))
	}
	if st.Size >= MaxLog {
		f.Close()
		return nil, fmt.Errorf("opening the log: %s has %s", path, size(st.Size))
	}
	if st.Size == 0 { // new: our umask may be stricter than the log's readers need
		if err := f.Chmod(0o640); err != nil {
			f.Close()
			return nil, fmt.Errorf("setting the log's mode: %w", err)
		}
	}
	return f, nil
}

// Handler writes one line per event, RFC 3339 time first, to a file opened by
// OpenLog. A value with anything but printable characters is quoted and
// escaped, so that no name on a stick can forge a line or speak to a terminal.
func Handler(f *os.File) slog.Handler { return slog.NewTextHandler(f, nil) }

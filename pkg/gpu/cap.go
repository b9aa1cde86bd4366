package gpu

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/atomicfile"
)

// shares of full that the levels of a cap stand for.
var shares = map[api.GPUCapLevel]float64{api.CapLight: 0.8, api.CapDeep: 0.5, api.CapLowest: 0}

// target is the limit for a share of full: one that the GPU takes, as close below
// as there is.
func target(l api.GPULimit, share float64) uint64 {
	want := max(uint64(share*float64(l.Full)), l.Min)
	if len(l.Steps) == 0 {
		return want
	}
	value := l.Steps[0]
	for _, step := range l.Steps {
		if step <= want {
			value = max(value, step)
		}
	}
	return value
}

// caps are the limits that we lowered, on disk.
type caps struct {
	path string
	boot string
	list []api.GPUCap
}

// ledger is the file. Neither a clock nor a power limit outlives a boot, so what
// was written before this one is forgotten.
type ledger struct {
	Boot string       `json:"boot_id"`
	Caps []api.GPUCap `json:"caps"`
}

const maxLedger = 64 << 10

// load reads what an earlier run left behind.
func (c *caps) load() error {
	f, err := os.Open(c.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading caps: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxLedger+1))
	if err != nil {
		return fmt.Errorf("reading caps: %w", err)
	}
	if len(data) > maxLedger {
		return fmt.Errorf("reading caps: %s is larger than %d bytes", c.path, maxLedger)
	}
	var l ledger
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&l); err != nil {
		return fmt.Errorf("reading caps: %s: %w", c.path, err)
	}
	if l.Boot == c.boot {
		c.list = l.Caps
	}
	return nil
}

func (c *caps) save() error {
	data, err := json.Marshal(ledger{c.boot, c.list})
	if err != nil {
		return err
	}
	if err := atomicfile.Write(c.path, data, 0o600); err != nil {
		return fmt.Errorf("remembering caps: %w", err)
	}
	return nil
}

// of is the cap on a GPU, nil when there is none.
func (c *caps) of(id string) *api.GPUCap {
	i := slices.IndexFunc(c.list, func(e api.GPUCap) bool { return e.GPU == id })
	if i < 0 {
		return nil
	}
	return &c.list[i]
}

func (c *caps) forget(id string) {
	c.list = slices.DeleteFunc(c.list, func(e api.GPUCap) bool { return e.GPU == id })
}

// set caps one GPU. A cap that is there is taken back first, so that the file
// never has to tell two of our own values apart. It returns nil when the limit is
// that low already.
//
// When the file cannot be written the GPU is capped all the same and the error
// returned with the cap: a disk that is full is no reason to let it burn. Until
// this process ends the cap can be taken back.
func (c *caps) set(l Limiter, id string, level api.GPUCapLevel, now time.Time) (*api.GPUCap, error) {
	if _, ok := shares[level]; !ok {
		return nil, fmt.Errorf("no level %q: light, deep or lowest", level)
	}
	if _, err := c.unset(l, id); err != nil && c.of(id) != nil {
		return nil, err
	}
	limit, err := l.Limit(id)
	if err != nil {
		return nil, err
	}
	value := target(limit, shares[level])
	entry := api.GPUCap{GPU: id, Level: level, Unit: limit.Unit, Value: value, Before: limit.Now, Since: now}
	if value >= entry.Before {
		return nil, nil
	}
	c.list = append(c.list, entry)
	unsaved := c.save()
	err = l.SetLimit(id, value)
	if err == nil {
		limit, err = l.Limit(id)
	}
	if err == nil && limit.Now != value {
		err = fmt.Errorf("limit is %d after it was set to %d %s", limit.Now, value, limit.Unit)
	}
	if err != nil {
		_ = l.SetLimit(id, entry.Before) // the first error tells more
		c.forget(id)
		return nil, errors.Join(err, c.save())
	}
	return &entry, unsaved
}

// unset takes the cap on one GPU back. Has somebody else changed the limit since,
// it is theirs, and only forgotten here: then restored is false.
func (c *caps) unset(l Limiter, id string) (restored bool, err error) {
	entry := c.of(id)
	if entry == nil {
		return false, nil
	}
	limit, err := l.Limit(id)
	if err != nil {
		return false, err
	}
	if limit.Now == entry.Value {
		if err := l.SetLimit(id, entry.Before); err != nil {
			return false, err
		}
		restored = true
	}
	c.forget(id)
	return restored, c.save()
}

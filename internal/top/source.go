package top

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/varvefs/varve/internal/daemon"
	"github.com/varvefs/varve/internal/output"
	"github.com/varvefs/varve/mvcc"
)

// ErrEnded says that what was shown is no more: the mount, or the run.
var ErrEnded = errors.New("has ended")

// Source is what is shown.
type Source struct {
	Name string
	Ask  func(context.Context) (*Sample, error)
}

const (
	httpTime  = 5 * time.Second
	maxAnswer = 64 << 20 // bytes

	// endTime is how long a mount that does not answer may take to leave the kernel's table: its socket goes first.
	endTime = 2 * time.Second
	endPoll = 20 * time.Millisecond
)

// Find is the source of that name: the directory of a mount, or the address of --metrics.
func Find(name string) Source {
	address := strings.TrimSuffix(strings.TrimPrefix(name, "http://"), "/")
	_, _, err := net.SplitHostPort(address)
	if _, statErr := os.Lstat(name); statErr != nil && err == nil && !strings.Contains(address, "/") {
		return Source{address, ofAddress(address, &http.Client{Timeout: httpTime}).ask}
	}
	return Source{name, (&mount{dir: name}).ask}
}

// mount is the source of a mount.
type mount struct {
	dir      string
	answered bool
}

func (m *mount) ask(ctx context.Context) (*Sample, error) {
	st, err := daemon.AskStats(m.dir)
	switch {
	case err == nil:
		m.answered = true
		return newSample(st, ""), nil
	case errors.Is(err, daemon.ErrOtherVersion):
		m.answered = true
		return newSample(st, "its daemon is of another version of varve: some figures are missing"), nil
	case m.answered && leaves(ctx, m.dir):
		return nil, fmt.Errorf("the mount on %s %w", m.dir, ErrEnded)
	}
	return nil, err
}

// leaves waits for the end of a mount that does not answer any more.
func leaves(ctx context.Context, dir string) bool {
	for deadline := time.Now().Add(endTime); ; {
		if info, err := daemon.FindMount(dir); err == nil && (info == nil || !info.Ours()) {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(endPoll):
		}
	}
}

// run is the source of a run that serves metrics.
type run struct {
	address  string
	client   *http.Client
	answered bool
}

func ofAddress(address string, client *http.Client) *run {
	return &run{address: address, client: client}
}

func (r *run) ask(ctx context.Context) (*Sample, error) {
	body, err := get(ctx, r.client, "http://"+r.address+"/stats")
	var slow net.Error
	switch {
	case err != nil && r.answered && ctx.Err() == nil && !(errors.As(err, &slow) && slow.Timeout()):
		return nil, fmt.Errorf("the run at %s %w", r.address, ErrEnded)
	case err != nil:
		return nil, fmt.Errorf("%s does not answer: %w", r.address, err)
	}
	r.answered = true
	return decodeStore(r.address, body)
}

func get(ctx context.Context, client *http.Client, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	answer, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, errors.New(answer.Status)
	}
	return io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
}

// decodeStore reads an answer of /stats.
func decodeStore(address string, body []byte) (*Sample, error) {
	doc := struct {
		SchemaVersion int         `json:"schema_version"`
		Store         *mvcc.Stats `json:"store"`
	}{}
	note := ""
	var other *json.UnmarshalTypeError
	switch err := json.Unmarshal(body, &doc); {
	case errors.As(err, &other):
		note = "this run is of another version of varve: some figures are missing"
	case err != nil:
		return nil, fmt.Errorf("%s/stats is no statistics of varve's: %w", address, err)
	case doc.Store == nil:
		note = "no store is open now"
	}
	st := &daemon.Stats{SchemaVersion: doc.SchemaVersion}
	if doc.Store != nil {
		st.Store = *doc.Store
	}
	for _, h := range st.Store.Hot {
		st.Hot = append(st.Hot, daemon.HotBlock{Block: uint64(h.Block), Conflicts: h.Count})
	}
	return newSample(st, note), nil
}

// newSample makes an answer a sample of this instant.
func newSample(st *daemon.Stats, note string) *Sample {
	if note == "" && st.SchemaVersion != output.SchemaVersion {
		note = fmt.Sprintf("the answer has schema version %d, this varve knows %d: figures may be missing",
			st.SchemaVersion, output.SchemaVersion)
	}
	clean(st)
	return &Sample{Time: time.Now(), Note: note, Stats: st}
}

// clean escapes characters of an answer that a terminal could obey.
func clean(st *daemon.Stats) {
	texts := []*string{&st.Image, &st.Options, &st.Policy, &st.Failed, &st.Store.BackPressure, &st.Store.WaitingFor}
	for i := range st.Operations {
		texts = append(texts, &st.Operations[i].Name)
	}
	for i := range st.Kinds {
		texts = append(texts, &st.Kinds[i].Kind)
	}
	for i := range st.Hot {
		texts = append(texts, &st.Hot[i].What)
	}
	for _, t := range texts {
		*t = printable(*t)
	}
}

// printable is a text in one line that no terminal obeys.
func printable(s string) string {
	var b strings.Builder
	g := output.NewGuard(&b)
	_, _ = io.WriteString(g, s)
	_ = g.Flush()
	return strings.NewReplacer("\n", `\n`, "\t", `\t`).Replace(b.String())
}

package top

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/varvefs/varve/ext4"
	"github.com/varvefs/varve/internal/daemon"
	"github.com/varvefs/varve/internal/output"
	"github.com/varvefs/varve/mvcc"
)

var update = flag.Bool("update", false, "write the golden screens")

// load is sample i of a mount whose load comes and goes.
func load(i int) *Sample {
	n, wave := int64(i), int64(400*(1+math.Sin(float64(i)/9)))
	return sampleAt(250*i, daemon.Stats{
		SchemaVersion: output.SchemaVersion, Image: "disk.img", Options: "rw,policy=adaptive", Policy: "adaptive",
		Operations: []ext4.OpStats{
			{Name: "lookup"}, {Name: "create", Done: n*n/2 + wave, Failed: n / 10, Merged: n / 3, Aborts: n / 20,
				Waited: time.Duration(n) * time.Millisecond},
			{Name: "write", Done: 3*n*n + wave, Merged: n}, {Name: "fsync", Done: n},
			{Name: "unlink", Done: n * 2, Failed: 1, Aborts: n / 7},
		},
		Kinds: []daemon.KindConflicts{
			{Kind: "inode table", Merges: 5 * n, Aborts: n, Waits: 2 * n, Waited: int64(n) * 1e6},
			{Kind: "block bitmap", Merges: 9 * n},
			{Kind: "directory", Aborts: n, Waits: n / 2, Waited: 12345},
		},
		Hot: []daemon.HotBlock{{Block: 1203, What: "inodes 1 to 16", Conflicts: uint64(32 * n)},
			{Block: 1031, What: "block bitmap of group 0", Conflicts: uint64(16 * n)},
			{Block: 9, What: "a block of group 0", Conflicts: 16}},
		Store: mvcc.Stats{
			Commits: 3*n*n + n*10, Conflicts: 8 * n, Merges: 6 * n, Aborts: 2 * n, Waits: 3 * n, Switches: n / 50,
			Collected: n * 4, HeldBack: n / 30, Chains: 77, History: 12, HistoryBytes: 49152, CleanBlocks: 431,
			Published: uint64(3*n*n + n*10), Durable: uint64(max(0, 3*n*n+n*10-wave)), WALBytes: uint64(n * n * 4096),
			Flushes: uint64(n / 4), FlushSeconds: float64(n/4) * 0.0021, Pressure: float64(wave) / 900,
			BackPressure: "slowing", Waiting: 2, WaitingFor: "read of inode 12",
			Losses: mvcc.Losses{ConflictRate: 0.25, MergeSuccess: 0.75, AbortCost: 31e-6, MergeCost: 4e-6, WaitCost: 12e-6,
				Strict: 8e-6 + float64(wave)*1e-9, Merge: 2e-6, Wait: 3e-6, Pace: [3]float64{1.2e-5, 2.5e-5, 0}},
		},
	})
}

// loaded is a model that has seen n samples.
func loaded(t *testing.T, n, width, height int) *Model {
	t.Helper()
	m := New(t.Context(), Source{Name: "/mnt", Ask: func(context.Context) (*Sample, error) { return load(n), nil }},
		t.TempDir())
	m.Update(tea.WindowSizeMsg{Width: width, Height: height})
	for i := range n {
		m.Update(load(i))
	}
	return m
}

// press presses keys: characters, or names of keys such as "tab".
func press(m *Model, keys ...string) (last tea.Cmd) {
	special := map[string]tea.KeyPressMsg{"tab": {Code: tea.KeyTab}, "shift+tab": {Code: tea.KeyTab, Mod: tea.ModShift},
		"enter": {Code: tea.KeyEnter}, "esc": {Code: tea.KeyEscape}, "backspace": {Code: tea.KeyBackspace},
		"down": {Code: tea.KeyDown}, " ": {Code: tea.KeySpace, Text: " "}, "ctrl+c": {Code: 'c', Mod: tea.ModCtrl}}
	for _, k := range keys {
		msg, ok := special[k]
		if !ok {
			msg = tea.KeyPressMsg{Code: []rune(k)[0], Text: k}
		}
		_, last = m.Update(msg)
	}
	return last
}

// plainScreen is a screen without styles, and without blanks at the ends of lines.
func plainScreen(m *Model) string {
	var b strings.Builder
	for line := range strings.Lines(ansi.Strip(m.View().Content)) {
		b.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	return b.String()
}

// TestScreens: each page, at both sizes, is the golden one, and fills the terminal exactly.
func TestScreens(t *testing.T) {
	for _, size := range [][2]int{{80, 24}, {200, 60}} {
		for i, name := range []string{"rates", "durability", "hot", "policy", "help"} {
			m := loaded(t, 130, size[0], size[1])
			press(m, []string{"1", "2", "3", "4", "?"}[i])
			screen := m.View().Content
			if w, h := lipgloss.Width(screen), lipgloss.Height(screen); w > size[0] || h != size[1] {
				t.Errorf("%s has %dx%d cells on a terminal of %dx%d", name, w, h, size[0], size[1])
			}
			got := plainScreen(m)
			path := filepath.Join("testdata", fmt.Sprintf("%s-%dx%d.golden", name, size[0], size[1]))
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("%s (write it with -update):\n%s", path, got)
			}
		}
	}
}

// TestScreens_Sizes: no size of a terminal makes a screen too large, or panics.
func TestScreens_Sizes(t *testing.T) {
	m := loaded(t, 30, 80, 24)
	for _, size := range [][2]int{{1, 1}, {20, 5}, {79, 23}, {300, 20}, {40, 100}} {
		for _, k := range []string{"1", "2", "3", "4", "?"} {
			m.Update(tea.WindowSizeMsg{Width: size[0], Height: size[1]})
			press(m, k)
			screen := m.View().Content
			if w, h := lipgloss.Width(screen), lipgloss.Height(screen); w > size[0] || h > size[1] {
				t.Errorf("page %s has %dx%d cells on a terminal of %v", k, w, h, size)
			}
		}
	}
}

// TestKeys_Pages: keys lead to pages, and q ends.
func TestKeys_Pages(t *testing.T) {
	m := loaded(t, 3, 80, 24)
	for _, c := range []struct {
		key  string
		page page
	}{{"3", pageHot}, {"1", pageRates}, {"tab", pageDurability}, {"shift+tab", pageRates}, {"shift+tab", pagePolicy},
		{"tab", pageRates}, {"4", pagePolicy}, {"2", pageDurability}} {
		if press(m, c.key); m.page != c.page {
			t.Errorf("%s leads to page %d, expected %d", c.key, m.page+1, c.page+1)
		}
	}
	for _, k := range []string{"q", "ctrl+c"} {
		if cmd := press(m, k); cmd == nil || cmd() != (tea.QuitMsg{}) {
			t.Errorf("%s does not end the pages", k)
		}
	}
	if m.Err() != nil {
		t.Errorf("ended by a key: %v", m.Err())
	}
}

// firsts are the first words of the rows of the table of operations.
func firsts(m *Model) (out []string) {
	for _, r := range m.operations.table.Rows() {
		out = append(out, r[0])
	}
	return out
}

// TestKeys_Table: tables sort by each column both ways, and show the rows that have the filter's text.
func TestKeys_Table(t *testing.T) {
	m := loaded(t, 30, 80, 24)
	check := func(keys, want string) {
		t.Helper()
		press(m, strings.Fields(keys)...)
		if got := strings.Join(firsts(m), " "); got != want {
			t.Errorf("after %q the table is %q, expected %q", keys, got, want)
		}
	}
	check("", "write create unlink fsync") // by done
	check("r", "fsync unlink create write")
	check("s", "create unlink write fsync") // by failed
	check("s s s s", "create fsync unlink write")
	check("r", "write unlink fsync create")
	check("/ N c", "fsync") // the case does not matter
	check("backspace", "unlink fsync")
	check("q", "") // a letter of the filter
	check("backspace enter", "unlink fsync")
	if screen := plainScreen(m); !strings.Contains(screen, "filter: N") {
		t.Errorf("the filter is not shown:\n%s", screen)
	}
	check("esc", "write unlink fsync create")
	check("/ x x enter", "")
	check("/ esc down down", "write unlink fsync create")
	if r := m.operations.table.SelectedRow(); r == nil || r[0] != "fsync" {
		t.Errorf("two rows down: %v", r)
	}
}

// TestKeys_Pause: a paused screen stays, samples go on, and the screen catches up.
func TestKeys_Pause(t *testing.T) {
	m := loaded(t, 20, 80, 24)
	press(m, " ")
	paused := plainScreen(m)
	if !strings.Contains(paused, "paused") {
		t.Errorf("not shown as paused:\n%s", paused)
	}
	if _, cmd := m.Update(load(20)); cmd == nil {
		t.Error("no sample follows while paused")
	}
	if got := plainScreen(m); got != paused {
		t.Errorf("a paused screen changes:\n%s", got)
	}
	if press(m, " "); m.shown.Last().Stats.Store.Commits != load(20).Stats.Store.Commits {
		t.Error("the screen does not catch up")
	}
}

// TestKeys_Freeze writes the sample that is shown to a new file, and says where.
func TestKeys_Freeze(t *testing.T) {
	m := loaded(t, 20, 200, 24)
	m.Update(press(m, "f")())
	path, ok := strings.CutPrefix(m.message, "frozen: ")
	if !ok || !strings.Contains(plainScreen(m), path) {
		t.Fatalf("message %q:\n%s", m.message, plainScreen(m))
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var doc frozen
	if err := json.Unmarshal(text, &doc); err != nil || doc.SchemaVersion != output.SchemaVersion ||
		doc.Source != "/mnt" || !doc.Time.Equal(load(19).Time) || doc.Stats.Store.Commits != load(19).Stats.Store.Commits ||
		doc.Rates != m.shown.Last().Rates {
		t.Errorf("%v: %s", err, text)
	}
	if m.Update(press(m, "f")()); !strings.Contains(m.message, "not frozen") { // of the same instant
		t.Errorf("a file that exists: %q", m.message)
	}
	if again, _ := os.ReadFile(path); string(again) != string(text) {
		t.Error("the file was overwritten")
	}
}

// TestModel_Ends: an error of the source ends the pages, and is kept.
func TestModel_Ends(t *testing.T) {
	m := New(t.Context(), Source{Name: "x", Ask: func(context.Context) (*Sample, error) { return nil, ErrEnded }}, ".")
	if _, cmd := m.Update(m.Init()()); cmd == nil || cmd() != (tea.QuitMsg{}) || !errors.Is(m.Err(), ErrEnded) {
		t.Errorf("the source ended: %v", m.Err())
	}
}

// TestScreens_Unfit: no character of an answer that a terminal could obey reaches the screen.
func TestScreens_Unfit(t *testing.T) {
	const unfit = "a\x1b[5mb\u009b5m\u202e\nc\td\x07"
	st := *load(1).Stats
	st.Image, st.Options, st.Policy, st.Store.BackPressure, st.Store.WaitingFor = unfit, unfit, unfit, unfit, unfit
	for i := range st.Operations {
		st.Operations[i].Name = unfit
	}
	st.Kinds[0].Kind, st.Hot[0].What = unfit, unfit
	m := New(t.Context(), Source{Name: unfit}, t.TempDir())
	for _, failed := range []string{"", unfit} {
		st.Failed = failed
		m.Update(newSample(&st, ""))
		for _, k := range []string{"1", "2", "3", "4"} {
			press(m, k)
			if screen := m.View().Content; strings.Contains(screen, "[5mb") && strings.Contains(screen, "\x1b[5m") ||
				strings.ContainsAny(screen, "\u009b\u202e\t\x07") {
				t.Errorf("page %s: %q", k, screen)
			}
		}
	}
}

// TestScreens_Notes: what an answer lacks, and a mount that takes no more changes, are said.
func TestScreens_Notes(t *testing.T) {
	m := loaded(t, 2, 80, 24)
	st := *load(3).Stats
	st.SchemaVersion = 99
	m.Update(newSample(&st, ""))
	if screen := plainScreen(m); !strings.Contains(screen, "schema version 99") {
		t.Errorf("another version:\n%s", screen)
	}
	st.Failed = "the device is gone"
	m.Update(newSample(&st, ""))
	if screen := plainScreen(m); !strings.Contains(screen, "no more changes: the device is gone") {
		t.Errorf("a mount that failed:\n%s", screen)
	}
}

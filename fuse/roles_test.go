package fuse

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"
)

// roles are the programs that this one is when it is started again: a mount's server and its client must not be
// one process.
var roles = map[string]func(args []string) error{"server": heldServer, "client": fsyncClient, "mounter": mounter}

const roleVariable = "VARVE_FUSE_TEST_ROLE"

func TestMain(m *testing.M) {
	role := os.Getenv(roleVariable)
	if role == "" {
		os.Exit(m.Run())
	}
	if err := roles[role](os.Args[1:]); err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
}

// player is this program in a role.
type player struct {
	t    *testing.T
	cmd  *exec.Cmd
	in   io.WriteCloser
	said chan string // lines
}

// play starts this program in a role.
func play(t *testing.T, role string, args ...string) *player {
	t.Helper()
	p := &player{t: t, cmd: exec.Command(os.Args[0], args...), said: make(chan string, 16)}
	p.cmd.Env = append(os.Environ(), roleVariable+"="+role)
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err == nil {
		p.in, err = p.cmd.StdinPipe()
	}
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.said)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			p.said <- lines.Text()
		}
	}()
	return p
}

// says waits for a line, and returns "" at the end.
func (p *player) says() string {
	p.t.Helper()
	select {
	case s := <-p.said:
		return s
	case <-time.After(30 * time.Second):
		p.t.Fatal("no answer")
		return ""
	}
}

// expect waits for a line, which must be the one that is given.
func (p *player) expect(want string) {
	p.t.Helper()
	if got := p.says(); got != want {
		p.t.Fatalf("%q, expected %q", got, want)
	}
}

// say gives the program a line of input.
func (p *player) say(line string) { fmt.Fprintln(p.in, line) }

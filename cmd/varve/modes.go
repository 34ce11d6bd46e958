package main

import (
	"fmt"
	"strconv"
	"strings"
)

// modeChange is a mode as chmod(1) takes it: in octal, or what changes ("u=rwX,go-w").
type modeChange struct {
	octal   bool
	mode    uint16
	clauses []modeClause
}

// modeClause is one change: bits of owner, group and others that are set, added or taken away.
type modeClause struct {
	whom  uint16 // the bits of the classes that are named: owner, group, others
	how   byte   // '=', '+' or '-'
	bits  uint16 // for all three
	execs bool   // X: execute, for directories and files with an execute bit
}

// parseMode parses a mode. Unlike in a shell's chmod, no umask counts in a clause that names no class.
func parseMode(text string) (modeChange, error) {
	if v, err := strconv.ParseUint(text, 8, 16); err == nil && v <= 0o7777 {
		return modeChange{octal: true, mode: uint16(v)}, nil
	}
	var m modeChange
	for _, clause := range strings.Split(text, ",") {
		if err := m.parse(clause); err != nil {
			return m, usageError{fmt.Errorf("mode %q: %w", text, err)}
		}
	}
	return m, nil
}

// parse adds the changes of one clause: those who are named, and one operator after the other.
func (m *modeChange) parse(clause string) error {
	whom := uint16(0)
	rest := strings.TrimLeftFunc(clause, func(r rune) bool {
		bits, ok := map[rune]uint16{'u': 0o4700, 'g': 0o2070, 'o': 0o1007, 'a': 0o7777}[r]
		whom |= bits
		return ok
	})
	if whom == 0 {
		whom = 0o7777
	}
	if rest == "" {
		return fmt.Errorf("%q is no change: it has the form u+x", clause)
	}
	for rest != "" {
		if !strings.ContainsRune("=+-", rune(rest[0])) {
			return fmt.Errorf("%q is no change: it has the form u+x", clause)
		}
		c := modeClause{whom: whom, how: rest[0]}
		for rest = rest[1:]; rest != "" && !strings.ContainsRune("=+-", rune(rest[0])); rest = rest[1:] {
			bits, ok := map[byte]uint16{'r': 0o444, 'w': 0o222, 'x': 0o111, 's': 0o6000, 't': 0o1000, 'X': 0}[rest[0]]
			if !ok {
				return fmt.Errorf("%q is none of r, w, x, X, s and t", rest[:1])
			}
			c.bits |= bits
			c.execs = c.execs || rest[0] == 'X'
		}
		m.clauses = append(m.clauses, c)
	}
	return nil
}

// apply changes a mode of a file or directory. Permission bits only.
func (m modeChange) apply(mode uint16, dir bool) uint16 {
	if m.octal {
		return m.mode
	}
	for _, c := range m.clauses {
		bits := c.bits
		if c.execs && (dir || mode&0o111 != 0) {
			bits |= 0o111
		}
		bits &= c.whom
		switch c.how {
		case '+':
			mode |= bits
		case '-':
			mode &^= bits
		case '=':
			keep := uint16(0)
			if dir { // as chmod(1): setuid and setgid of directories stay unless they are named
				keep = mode & 0o6000
			}
			mode = mode&^c.whom | bits | keep
		}
	}
	return mode
}

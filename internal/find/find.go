// Package find decides by the predicates of find(1) which files of a tree are meant.
package find

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/varvefs/varve/ext4"
)

// File is a file that is looked at: one of its names, and its inode.
type File struct {
	Path  string
	Name  string // the last part of the path
	Depth int
	Inode *ext4.Inode
}

// Action is what is done with a file.
type Action byte

// The actions: its path, on a line or with a zero byte behind it, or as ls -l has it.
const (
	Print Action = iota
	Print0
	List
)

// Expression is a parsed command line of predicates.
type Expression struct {
	MinDepth, MaxDepth int // MaxDepth is -1 without a limit

	root node
	acts bool // it has actions of its own
}

// node is a part of an expression.
type node func(*File, func(Action) error) (bool, error)

// Match evaluates the expression for a file, and calls do for each action that it leads to. An expression without an
// action prints what matches.
func (e *Expression) Match(f *File, do func(Action) error) error {
	ok, err := e.root(f, do)
	if err == nil && ok && !e.acts {
		err = do(Print)
	}
	return err
}

// Parse reads predicates as find(1) does. now is the time that ages are counted from.
func Parse(args []string, now time.Time) (*Expression, error) {
	p := &parser{args: args, out: &Expression{MaxDepth: -1}, now: now}
	if len(args) == 0 {
		p.out.root = func(*File, func(Action) error) (bool, error) { return true, nil }
		return p.out, nil
	}
	root, err := p.list()
	if err == nil && p.more() {
		err = fmt.Errorf("%q has no opening parenthesis", p.peek())
	}
	p.out.root = root
	return p.out, err
}

// parser is a recursive descent over: list = or {"," or}; or = and {-o and}; and = not {[-a] not}; not = {!} primary.
type parser struct {
	args  []string
	out   *Expression
	now   time.Time
	depth int // of parentheses and negations
}

// maxNesting bounds the depth of parentheses and negations.
const maxNesting = 1000

func (p *parser) more() bool   { return len(p.args) > 0 }
func (p *parser) peek() string { return p.args[0] }

func (p *parser) next() string {
	s := p.args[0]
	p.args = p.args[1:]
	return s
}

// take reads an operator if it comes next.
func (p *parser) take(names ...string) bool {
	if p.more() && slices.Contains(names, p.peek()) {
		p.next()
		return true
	}
	return false
}

func (p *parser) list() (node, error) {
	left, err := p.or()
	for err == nil && p.take(",") {
		var right node
		first := left
		if right, err = p.or(); err == nil {
			left = func(f *File, do func(Action) error) (bool, error) {
				if _, err := first(f, do); err != nil {
					return false, err
				}
				return right(f, do)
			}
		}
	}
	return left, err
}

func (p *parser) or() (node, error) {
	left, err := p.and()
	for err == nil && p.take("-o", "-or") {
		var right node
		first := left
		if right, err = p.and(); err == nil {
			left = func(f *File, do func(Action) error) (bool, error) {
				if ok, err := first(f, do); ok || err != nil {
					return ok, err
				}
				return right(f, do)
			}
		}
	}
	return left, err
}

func (p *parser) and() (node, error) {
	left, err := p.not()
	for err == nil && p.more() && !slices.Contains([]string{"-o", "-or", ",", ")"}, p.peek()) {
		p.take("-a", "-and")
		var right node
		first := left
		if right, err = p.not(); err == nil {
			left = func(f *File, do func(Action) error) (bool, error) {
				if ok, err := first(f, do); !ok || err != nil {
					return ok, err
				}
				return right(f, do)
			}
		}
	}
	return left, err
}

func (p *parser) not() (node, error) {
	if p.depth++; p.depth > maxNesting {
		return nil, fmt.Errorf("parentheses and negations nest deeper than %d", maxNesting)
	}
	defer func() { p.depth-- }()
	if p.take("!", "-not") {
		inner, err := p.not()
		if err != nil {
			return nil, err
		}
		return func(f *File, do func(Action) error) (bool, error) {
			ok, err := inner(f, do)
			return !ok, err
		}, nil
	}
	if !p.more() {
		return nil, fmt.Errorf("a predicate is missing at the end")
	}
	if p.take("(") {
		inner, err := p.list()
		if err == nil && !p.take(")") {
			err = fmt.Errorf("a closing parenthesis is missing")
		}
		return inner, err
	}
	return p.primary()
}

// primary reads one predicate with its argument.
func (p *parser) primary() (node, error) {
	name := p.next()
	switch name {
	case "-print", "-print0", "-ls":
		p.out.acts = true
		action := map[string]Action{"-print": Print, "-print0": Print0, "-ls": List}[name]
		return func(_ *File, do func(Action) error) (bool, error) { return true, do(action) }, nil
	case "-true", "-false", "-empty":
		return test(flags[name]), nil
	}
	make, ok := tests[name]
	if !ok {
		if !strings.HasPrefix(name, "-") {
			return nil, fmt.Errorf("%q is no predicate: paths come before the expression", name)
		}
		return nil, fmt.Errorf("%q is not known", name)
	}
	if !p.more() {
		return nil, fmt.Errorf("%s needs an argument", name)
	}
	arg := p.next()
	t, err := make(p, arg)
	if err != nil {
		return nil, fmt.Errorf("%s %q: %w", name, arg, err)
	}
	return test(t), nil
}

// test makes a node of a question about a file.
func test(ask func(*File) (bool, error)) node {
	return func(f *File, _ func(Action) error) (bool, error) { return ask(f) }
}

package find

import (
	"errors"
	"fmt"
	"os/user"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/varvefs/varve/ext4"
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// ask answers a question about a file.
type ask = func(*File) (bool, error)

// flags are the tests without an argument.
var flags = map[string]ask{
	"-true":  func(*File) (bool, error) { return true, nil },
	"-false": func(*File) (bool, error) { return false, nil },
	"-empty": empty,
}

// tests are those with one.
var tests map[string]func(*parser, string) (ask, error)

func init() {
	tests = map[string]func(*parser, string) (ask, error){
		"-name":  func(_ *parser, s string) (ask, error) { return pattern(s, false, nameOf) },
		"-iname": func(_ *parser, s string) (ask, error) { return pattern(s, true, nameOf) },
		"-path":  func(_ *parser, s string) (ask, error) { return pattern(s, false, pathOf) },
		"-ipath": func(_ *parser, s string) (ask, error) { return pattern(s, true, pathOf) },
		"-type":  typeIs,
		"-size":  sizeIs,
		"-perm":  permIs,
		"-links": number(func(f *File) uint64 { return uint64(f.Inode.Links) }),
		"-inum":  number(func(f *File) uint64 { return uint64(f.Inode.Ino) }),
		"-uid":   number(func(f *File) uint64 { return uint64(f.Inode.UID) }),
		"-gid":   number(func(f *File) uint64 { return uint64(f.Inode.GID) }),
		"-user":  owner(func(f *File) uint32 { return f.Inode.UID }, userID),
		"-group": owner(func(f *File) uint32 { return f.Inode.GID }, groupID),
		"-mtime": age(24*time.Hour, func(f *File) time.Time { return f.Inode.Mtime }),
		"-atime": age(24*time.Hour, func(f *File) time.Time { return f.Inode.Atime }),
		"-ctime": age(24*time.Hour, func(f *File) time.Time { return f.Inode.Ctime }),
		"-mmin":  age(time.Minute, func(f *File) time.Time { return f.Inode.Mtime }),
		"-newermt": func(_ *parser, s string) (ask, error) {
			t, err := when(s)
			return func(f *File) (bool, error) { return f.Inode.Mtime.After(t), nil }, err
		},
		"-xattr":    func(_ *parser, s string) (ask, error) { return hasXattr(s), nil },
		"-maxdepth": func(p *parser, s string) (ask, error) { return flags["-true"], depth(s, &p.out.MaxDepth) },
		"-mindepth": func(p *parser, s string) (ask, error) { return flags["-true"], depth(s, &p.out.MinDepth) },
	}
}

func nameOf(f *File) string { return f.Name }
func pathOf(f *File) string { return f.Path }

func depth(s string, to *int) error {
	n, err := strconv.ParseUint(s, 10, 31)
	*to = int(n)
	return err
}

// pattern matches a text by the wildcards of the shell, in which a slash is a character as any other (fnmatch(3)
// without FNM_PATHNAME).
func pattern(s string, fold bool, of func(*File) string) (ask, error) {
	re, err := wildcards(s, fold)
	if err != nil {
		return nil, err
	}
	return func(f *File) (bool, error) { return re.MatchString(of(f)), nil }, nil
}

// wildcards is a shell pattern as a regular expression.
func wildcards(s string, fold bool) (*regexp.Regexp, error) {
	var out strings.Builder
	out.WriteString("(?s")
	if fold {
		out.WriteString("i")
	}
	out.WriteString(")^(?:")
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '*':
			out.WriteString(".*")
		case '?':
			out.WriteString(".")
		case '[':
			end := bracketEnd(s, i)
			if end < 0 {
				out.WriteString(`\[`)
				continue
			}
			out.WriteString(bracket(s[i+1 : end]))
			i = end
		case '\\':
			if i+1 < len(s) {
				i++
			}
			out.WriteString(regexp.QuoteMeta(s[i : i+1]))
		default:
			out.WriteByte(c)
			if c < 0x80 && strings.IndexByte(`.+()|{}^$]`, c) >= 0 {
				text := out.String()
				out.Reset()
				out.WriteString(text[:len(text)-1] + `\` + string(c))
			}
		}
	}
	out.WriteString(")$")
	return regexp.Compile(out.String())
}

// bracketEnd is where the set that begins at i ends; -1 where it does not end. A bracket that comes first is of the
// set.
func bracketEnd(s string, i int) int {
	j := i + 1
	if j < len(s) && (s[j] == '!' || s[j] == '^') {
		j++
	}
	if j < len(s) && s[j] == ']' {
		j++
	}
	for ; j < len(s); j++ {
		switch {
		case s[j] == ']':
			return j
		case s[j] == '[' && j+1 < len(s) && s[j+1] == ':':
			if k := strings.Index(s[j:], ":]"); k > 0 {
				j += k + 1
			}
		}
	}
	return -1
}

// bracket is a set of characters as a regular expression has it.
func bracket(set string) string {
	var out strings.Builder
	out.WriteByte('[')
	if strings.HasPrefix(set, "!") || strings.HasPrefix(set, "^") {
		out.WriteByte('^')
		set = set[1:]
	}
	for i := 0; i < len(set); i++ {
		if set[i] == '[' && i+1 < len(set) && set[i+1] == ':' {
			if k := strings.Index(set[i:], ":]"); k > 0 {
				out.WriteString(set[i : i+k+2])
				i += k + 1
				continue
			}
		}
		if strings.IndexByte(`[]^&~`, set[i]) >= 0 {
			out.WriteByte('\\')
		}
		out.WriteByte(set[i])
	}
	out.WriteByte(']')
	return out.String()
}

// comparison is a number of find(1): n, more than n (+n), or less than n (-n).
func comparison(s string) (func(v uint64) bool, error) {
	sign := byte(0)
	if s != "" && (s[0] == '+' || s[0] == '-') {
		sign, s = s[0], s[1:]
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return nil, errors.New("expected n, +n or -n")
	}
	return func(v uint64) bool {
		switch sign {
		case '+':
			return v > n
		case '-':
			return v < n
		}
		return v == n
	}, nil
}

func number(of func(*File) uint64) func(*parser, string) (ask, error) {
	return func(_ *parser, s string) (ask, error) {
		is, err := comparison(s)
		return func(f *File) (bool, error) { return is(of(f)), nil }, err
	}
}

// sizeUnits are the units of -size in bytes.
var sizeUnits = map[byte]uint64{'c': 1, 'w': 2, 'b': 512, 'k': 1 << 10, 'M': 1 << 20, 'G': 1 << 30}

// sizeIs compares the size in units, rounded up.
func sizeIs(_ *parser, s string) (ask, error) {
	unit := uint64(512)
	if s != "" {
		if u, ok := sizeUnits[s[len(s)-1]]; ok {
			unit, s = u, s[:len(s)-1]
		}
	}
	is, err := comparison(s)
	return func(f *File) (bool, error) {
		size := f.Inode.StatSize()
		return is(size/unit + (size%unit+unit-1)/unit), nil
	}, err
}

// types are the letters of -type.
var types = map[string]uint16{"f": disk.ModeRegular, "d": disk.ModeDir, "l": disk.ModeSymlink, "c": disk.ModeChar,
	"b": disk.ModeBlock, "p": disk.ModeFIFO, "s": disk.ModeSocket}

func typeIs(_ *parser, s string) (ask, error) {
	wanted := map[uint16]bool{}
	for letter := range strings.SplitSeq(s, ",") {
		t, ok := types[letter]
		if !ok || wanted[t] {
			return nil, errors.New("expected letters of bcdpfls, each once, with commas between")
		}
		wanted[t] = true
	}
	return func(f *File) (bool, error) { return wanted[f.Inode.Mode&disk.ModeType], nil }, nil
}

// permIs compares the permissions: all the same, all of some (-mode), or any of some (/mode).
func permIs(_ *parser, s string) (ask, error) {
	how := byte(0)
	if s != "" && (s[0] == '-' || s[0] == '/') {
		how, s = s[0], s[1:]
	}
	want, err := mode(s)
	return func(f *File) (bool, error) {
		has := f.Inode.Mode & 0o7777
		switch how {
		case '-':
			return has&want == want, nil
		case '/':
			return want == 0 || has&want != 0, nil
		}
		return has == want, nil
	}, err
}

// mode reads an octal mode, or a symbolic one that adds or sets permissions (u+rw,g=x).
func mode(s string) (uint16, error) {
	if n, err := strconv.ParseUint(s, 8, 16); err == nil && n <= 0o7777 {
		return uint16(n), nil
	}
	bad := errors.New("expected an octal mode, or one such as u=rwx,g+r")
	out := uint16(0)
	for clause := range strings.SplitSeq(s, ",") {
		i := strings.IndexAny(clause, "+=")
		if i < 0 {
			return 0, bad
		}
		who := uint16(0)
		for _, c := range clause[:i] {
			w, ok := map[rune]uint16{'u': 0o4700, 'g': 0o2070, 'o': 0o1007, 'a': 0o7777}[c]
			if !ok {
				return 0, bad
			}
			who |= w
		}
		if i == 0 {
			who = 0o7777
		}
		bits := uint16(0)
		for _, c := range clause[i+1:] {
			b, ok := map[rune]uint16{'r': 0o444, 'w': 0o222, 'x': 0o111, 's': 0o6000, 't': 0o1000}[c]
			if !ok {
				return 0, bad
			}
			if c == 't' { // whoever it is given to
				out |= 0o1000
			}
			bits |= b
		}
		if clause[i] == '=' {
			out &^= who
		}
		out |= bits & who
	}
	return out, nil
}

// owner compares an owner, by name or number.
func owner(of func(*File) uint32, lookup func(string) (string, error)) func(*parser, string) (ask, error) {
	return func(_ *parser, s string) (ask, error) {
		id, err := lookup(s)
		if err != nil {
			id = s
		}
		n, err := strconv.ParseUint(id, 10, 32)
		if err != nil {
			return nil, errors.New("no such name on this machine, and no number")
		}
		return func(f *File) (bool, error) { return of(f) == uint32(n), nil }, nil
	}
}

func userID(name string) (string, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return "", err
	}
	return u.Uid, nil
}

func groupID(name string) (string, error) {
	g, err := user.LookupGroup(name)
	if err != nil {
		return "", err
	}
	return g.Gid, nil
}

// age compares how long ago a time was, in whole units: what is left of one does not count.
func age(unit time.Duration, of func(*File) time.Time) func(*parser, string) (ask, error) {
	return func(p *parser, s string) (ask, error) {
		sign := ""
		if s != "" && (s[0] == '+' || s[0] == '-') {
			sign, s = s[:1], s[1:]
		}
		n, err := strconv.ParseInt(s, 10, 32)
		if err != nil || n < 0 {
			return nil, errors.New("expected n, +n or -n")
		}
		return func(f *File) (bool, error) {
			seconds := p.now.Unix() - of(f).Unix() // a time.Duration ends after 292 years
			if p.now.Nanosecond() < of(f).Nanosecond() {
				seconds--
			}
			per := int64(unit / time.Second)
			whole := seconds / per
			if seconds%per < 0 {
				whole--
			}
			switch sign {
			case "+":
				return whole > n, nil
			case "-":
				return whole < n, nil
			}
			return whole == n, nil
		}, nil
	}
}

// when reads a time: a date, with a time of day or without, in this machine's zone unless it names one; or @seconds.
func when(s string) (time.Time, error) {
	if strings.HasPrefix(s, "@") {
		n, err := strconv.ParseInt(s[1:], 10, 64)
		return time.Unix(n, 0), err
	}
	for _, form := range []string{time.DateOnly, time.DateTime, "2006-01-02 15:04", "2006-01-02T15:04:05",
		time.RFC3339Nano, "2006-01-02 15:04:05 -0700"} {
		if t, err := time.ParseInLocation(form, s, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, errors.New("expected a date as 2006-01-02, 2006-01-02 15:04:05, of RFC 3339, or @seconds")
}

// empty reports whether a file has no bytes, or a directory no names.
func empty(f *File) (bool, error) {
	switch {
	case f.Inode.IsRegular():
		return f.Inode.Size == 0, nil
	case !f.Inode.IsDir():
		return false, nil
	}
	names := 0
	err := f.Inode.ReadDir(0, func(e ext4.Dirent) bool {
		if name := string(e.Name); name != "." && name != ".." {
			names++
		}
		return names == 0
	})
	if err != nil {
		return false, fmt.Errorf("%s: %w", f.Path, err)
	}
	return names == 0, nil
}

// hasXattr reports whether a file has an attribute; of "*" whether it has any.
func hasXattr(name string) ask {
	return func(f *File) (bool, error) {
		attrs, err := f.Inode.Xattrs()
		for i := range attrs {
			if name == "*" || attrs[i].Name == name {
				return true, nil
			}
		}
		return false, err
	}
}

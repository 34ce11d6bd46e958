package ext4

import (
	disk "github.com/varvefs/varve/ondisk/ext4"
)

// naming turns the stored names of a directory into those that it is listed with. The zero value is that of an
// ordinary directory.
type naming struct {
	dir     *Inode
	hashed  bool  // names are listed with their directory hash
	version uint8 // the hash version to compute it with, where entries do not hold it
}

// noKeyNaming is how the names of a directory are listed: as they are, or in no-key form where they are encrypted.
// The form includes the hash if the kernel would walk the directory as a hash tree.
func (n *Inode) noKeyNaming() (naming, error) {
	if !n.Has(disk.InodeEncrypt) {
		return naming{}, nil
	}
	m := naming{dir: n, version: n.fs.super.HashVersion}
	super := n.fs.super
	m.hashed = super.Compat&disk.CompatDirIndex != 0 &&
		(n.Has(disk.InodeIndex) || n.Size == uint64(super.BlockSize) || n.Has(disk.InodeInlineData))
	if n.hasIndex() {
		root, err := n.hashRoot()
		if err != nil {
			return m, err
		}
		m.version = root.node.HashVersion
	}
	m.version = super.EffectiveHash(m.version)
	return m, nil
}

// name is the name to list an entry with.
func (m naming) name(e *disk.Dirent) []byte {
	if m.dir == nil || string(e.Name) == "." || string(e.Name) == ".." {
		return e.Name
	}
	hash, minor := e.Hash, e.MinorHash
	if m.hashed && !m.dir.Has(disk.InodeCasefold) {
		hash, minor, _ = m.dir.fs.super.NameHash(m.version, e.Name)
	}
	return []byte(disk.NoKeyName(hash, minor, e.Name))
}

#!/bin/sh
# Makes the images that the tests of the decoders read (as root): one with checksums, one without, and the log of a
# journal that was cut off.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
for kind in csum plain; do
	features=metadata_csum,64bit,^has_journal
	[ $kind = plain ] && features=^metadata_csum,^64bit,^has_journal
	truncate -s 1M "$work/$kind.img"
	mkfs.ext4 -q -F -b 1024 -N 64 -m 0 -U 11111111-2222-3333-4444-555555555555 -L golden -O "$features,^resize_inode" \
		-E hash_seed=aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee,lazy_itable_init=0 "$work/$kind.img"
	mkdir -p "$work/mnt"
	mount -o loop "$work/$kind.img" "$work/mnt"
	mkdir "$work/mnt/indexed"
	i=0
	while [ $i -lt 40 ]; do
		ln "$work/mnt/file" "$work/mnt/indexed/$i-a-name-that-is-long-enough-to-fill-several-blocks-of-one-kibibyte" 2>/dev/null ||
			{ echo file >"$work/mnt/file"; continue; }
		i=$((i + 1))
	done
	i=0
	while [ $i -lt 12 ]; do
		printf x | dd of="$work/mnt/extents" bs=1024 seek=$((i * 2)) conv=notrunc status=none
		i=$((i + 1))
	done
	head -c 500 /dev/zero | tr '\0' v >"$work/value"
	setfattr -n user.big -v "$(cat "$work/value")" "$work/mnt/file"
	setfattr -n user.small -v small "$work/mnt/extents"
	setfacl -m u:1000:rw "$work/mnt/extents"
	ln -s target "$work/mnt/link"
	touch -d '2040-01-02 03:04:05.123456789 UTC' "$work/mnt/extents"
	umount "$work/mnt"
	e2fsck -fn "$work/$kind.img" >/dev/null
	gzip -9n <"$work/$kind.img" >"$kind.img.gz"
done
truncate -s 4M "$work/j.img"
mkfs.ext4 -q -F -b 1024 -N 64 -U 11111111-2222-3333-4444-555555555555 -J size=1 -O metadata_csum,64bit "$work/j.img"
mount -o loop,data=journal "$work/j.img" "$work/mnt"
mkdir "$work/mnt/d"
echo one >"$work/mnt/d/one"
sync -f "$work/mnt"
rm -r "$work/mnt/d"
echo two >"$work/mnt/two"
sync -f "$work/mnt"
cp "$work/j.img" "$work/dirty.img"
umount "$work/mnt"
debugfs -R "dump <8> $work/journal" "$work/dirty.img" 2>/dev/null
head -c 65536 "$work/journal" | gzip -9n >../../jbd2/testdata/log.gz
# A whole image whose journal has no checksums, so that damage to it reaches the code behind them.
truncate -s 4M "$work/k.img"
mkfs.ext4 -q -F -b 1024 -N 64 -J size=1 -O ^metadata_csum,^64bit "$work/k.img"
mount -o loop,data=journal "$work/k.img" "$work/mnt"
for i in 1 2 3; do
	mkdir "$work/mnt/d"
	echo $i >"$work/mnt/d/$i"
	sync -f "$work/mnt"
	rm -r "$work/mnt/d"
	echo $i >"$work/mnt/file$i"
	sync -f "$work/mnt"
done
cp "$work/k.img" "$work/dirty.img"
umount "$work/mnt"
gzip -9n <"$work/dirty.img" >../../../ext4/testdata/dirty.img.gz
rm -r "$work"

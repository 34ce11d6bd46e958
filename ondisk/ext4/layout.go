package ext4

import (
	"encoding/binary"

	"github.com/varvefs/varve/ondisk"
)

func layout(fields string) ondisk.Layout { return ondisk.NewLayout(binary.LittleEndian, fields) }

// SuperblockLayout is the superblock, as ext4 doc, "Super Block", has it.
var SuperblockLayout = layout(`s_inodes_count 4, s_blocks_count_lo 4, s_r_blocks_count_lo 4, s_free_blocks_count_lo 4,
	s_free_inodes_count 4, s_first_data_block 4, s_log_block_size 4, s_log_cluster_size 4, s_blocks_per_group 4,
	s_clusters_per_group 4, s_inodes_per_group 4, s_mtime 4 t, s_wtime 4 t, s_mnt_count 2, s_max_mnt_count 2,
	s_magic 2 x, s_state 2 x, s_errors 2, s_minor_rev_level 2, s_lastcheck 4 t, s_checkinterval 4, s_creator_os 4,
	s_rev_level 4, s_def_resuid 2, s_def_resgid 2, s_first_ino 4, s_inode_size 2, s_block_group_nr 2,
	s_feature_compat 4 x, s_feature_incompat 4 x, s_feature_ro_compat 4 x, s_uuid 16 u, s_volume_name 16 s,
	s_last_mounted 64 s, s_algorithm_usage_bitmap 4 x, s_prealloc_blocks 1, s_prealloc_dir_blocks 1,
	s_reserved_gdt_blocks 2, s_journal_uuid 16 u, s_journal_inum 4, s_journal_dev 4 x, s_last_orphan 4,
	s_hash_seed 16 u, s_def_hash_version 1, s_jnl_backup_type 1, s_desc_size 2, s_default_mount_opts 4 x,
	s_first_meta_bg 4, s_mkfs_time 4 t, s_jnl_blocks 68 b, s_blocks_count_hi 4, s_r_blocks_count_hi 4,
	s_free_blocks_count_hi 4, s_min_extra_isize 2, s_want_extra_isize 2, s_flags 4 x, s_raid_stride 2,
	s_mmp_interval 2, s_mmp_block 8, s_raid_stripe_width 4, s_log_groups_per_flex 1, s_checksum_type 1,
	s_encryption_level 1, s_reserved_pad 1, s_kbytes_written 8, s_snapshot_inum 4, s_snapshot_id 4,
	s_snapshot_r_blocks_count 8, s_snapshot_list 4, s_error_count 4, s_first_error_time 4 t, s_first_error_ino 4,
	s_first_error_block 8, s_first_error_func 32 s, s_first_error_line 4, s_last_error_time 4 t, s_last_error_ino 4,
	s_last_error_line 4, s_last_error_block 8, s_last_error_func 32 s, s_mount_opts 64 s, s_usr_quota_inum 4,
	s_grp_quota_inum 4, s_overhead_clusters 4, s_backup_bgs[0] 4, s_backup_bgs[1] 4, s_encrypt_algos 4 x,
	s_encrypt_pw_salt 16 u, s_lpf_ino 4, s_prj_quota_inum 4, s_checksum_seed 4 x, s_wtime_hi 1, s_mtime_hi 1,
	s_mkfs_time_hi 1, s_lastcheck_hi 1, s_first_error_time_hi 1, s_last_error_time_hi 1, s_first_error_errcode 1,
	s_last_error_errcode 1, s_encoding 2, s_encoding_flags 2 x, s_orphan_file_inum 4, s_reserved 376 b,
	s_checksum 4 x`)

// GroupDescLayout is a group descriptor of 64 bytes; one of 32 has the first half (ext4 doc, "Block Group
// Descriptors").
var GroupDescLayout = layout(`bg_block_bitmap_lo 4, bg_inode_bitmap_lo 4, bg_inode_table_lo 4,
	bg_free_blocks_count_lo 2, bg_free_inodes_count_lo 2, bg_used_dirs_count_lo 2, bg_flags 2 x,
	bg_exclude_bitmap_lo 4, bg_block_bitmap_csum_lo 2 x, bg_inode_bitmap_csum_lo 2 x, bg_itable_unused_lo 2,
	bg_checksum 2 x, bg_block_bitmap_hi 4, bg_inode_bitmap_hi 4, bg_inode_table_hi 4, bg_free_blocks_count_hi 2,
	bg_free_inodes_count_hi 2, bg_used_dirs_count_hi 2, bg_itable_unused_hi 2, bg_exclude_bitmap_hi 4,
	bg_block_bitmap_csum_hi 2 x, bg_inode_bitmap_csum_hi 2 x, bg_reserved 4`)

// InodeLayout is an inode with all the fields that the format has; i_extra_isize says how many of those from byte 128
// on one has (ext4 doc, "Index Nodes").
var InodeLayout = layout(`i_mode 2 o, i_uid 2, i_size_lo 4, i_atime 4 t, i_ctime 4 t, i_mtime 4 t, i_dtime 4, i_gid 2,
	i_links_count 2, i_blocks_lo 4, i_flags 4 x, l_i_version 4, i_block 60 b, i_generation 4, i_file_acl_lo 4,
	i_size_high 4, i_obso_faddr 4, l_i_blocks_high 2, l_i_file_acl_high 2, l_i_uid_high 2, l_i_gid_high 2,
	l_i_checksum_lo 2 x, l_i_reserved 2, i_extra_isize 2, i_checksum_hi 2 x, i_ctime_extra 4 x, i_mtime_extra 4 x,
	i_atime_extra 4 x, i_crtime 4 t, i_crtime_extra 4 x, i_version_hi 4, i_projid 4`)

// ExtentHeaderLayout begins each node of an extent tree (ext4 doc, "Extent Tree").
var ExtentHeaderLayout = layout(`eh_magic 2 x, eh_entries 2, eh_max 2, eh_depth 2, eh_generation 4`)

// HtreeRootLayout is what a hash tree's root has before its entries, and HtreeNodeLayout what another node has (ext4
// doc, "Hash Tree Directories").
var (
	HtreeRootLayout = layout(`dot.inode 4, dot.rec_len 2, dot.name_len 1, dot.file_type 1, dot.name 4 s,
		dotdot.inode 4, dotdot.rec_len 2, dotdot.name_len 1, dotdot.file_type 1, dotdot.name 4 s,
		reserved_zero 4, hash_version 1, info_length 1, indirect_levels 1, unused_flags 1, limit 2, count 2, block 4`)
	HtreeNodeLayout = layout(`fake.inode 4, fake.rec_len 2, fake.name_len 1, fake.file_type 1, limit 2, count 2, block 4`)
)

// XattrHeaderLayout begins a block of extended attributes (ext4 doc, "Extended Attributes").
var XattrHeaderLayout = layout(`h_magic 4 x, h_refcount 4, h_blocks 4, h_hash 4 x, h_checksum 4 x, h_reserved 12 b`)

package jbd2

import (
	"encoding/binary"

	"github.com/varvefs/varve/ondisk"
)

// HeaderLayout begins each block of the journal that is no logged block, and SuperblockLayout is the journal's
// superblock (ext4 doc, Journal, "Block Header" and "Super Block").
var (
	HeaderLayout     = ondisk.NewLayout(binary.BigEndian, `h_magic 4 x, h_blocktype 4, h_sequence 4`)
	SuperblockLayout = ondisk.NewLayout(binary.BigEndian, `h_magic 4 x, h_blocktype 4, h_sequence 4, s_blocksize 4,
		s_maxlen 4, s_first 4, s_sequence 4, s_start 4, s_errno 4, s_feature_compat 4 x, s_feature_incompat 4 x,
		s_feature_ro_compat 4 x, s_uuid 16 u, s_nr_users 4, s_dynsuper 4, s_max_transaction 4, s_max_trans_data 4,
		s_checksum_type 1, s_padding2 3 b, s_num_fc_blks 4, s_head 4, s_padding 160 b, s_checksum 4 x`)
)

package fakesrs

import "strings"

// known lists the directives of each block. `name@since` came with that version, `name-last` went
// after it. With two versions (`auth@5.0.152,6.0.40`) a change went into two release branches.
//
// The names and versions were read out of the checks in the history of ossrs/srs, all revisions of
// 4.0release, 5.0release and 6.0release up to 6.0.157. A block that isn't listed takes anything.
var known = map[string]string{
	"": `
		asprocess auto_reload_for_docker@4.0.12 chunk_size circuit_breaker@4.0.103 daemon
		disable_daemon_for_docker@4.0.12 empty_ip_ok@4.0.7 exporter@5.0.67 ff_log_dir ff_log_level
		first_wait_for_qlv@4.0.257 force_grace_quit grace_final_wait grace_start_wait@4.0.6 heartbeat
		http_api http_server in_docker@4.0.216 inotify_auto_reload@4.0.12 is_full@4.0.116 listen
		max_connections pid pithy_print_ms query_latest_version@4.0.149 rtc@4.0.6-4.0.13
		rtc_server@4.0.13 server_id@4.0.257 srs_log_file srs_log_level srs_log_level_v2@5.0.83
		srs_log_tank srt_server stats stream_caster tcmalloc_release_rate@4.0.22
		tencentcloud_apm@5.0.64 tencentcloud_cls@5.0.44 threads@5.0.32 utc_time vhost work_dir`,
	"exporter":         `enabled@5.0.71 label@5.0.71 listen@5.0.71 tag@5.0.71`,
	"heartbeat":        `device_id enabled interval ports@5.0.215,6.0.156 summaries url`,
	"http_api":         `auth@5.0.152,6.0.40 crossdomain enabled https@4.0.45 listen raw_api`,
	"http_api.auth":    `enabled password username`,
	"http_api.raw_api": `allow_query allow_reload allow_update enabled`,
	"http_server":      `crossdomain dir enabled https@4.0.45 listen`,
	"rtc_server": `
		api_as_candidates@4.0.218 black_hole@4.0.23 candidate@4.0.22 dir@4.0.22 ecdsa@4.0.22
		enabled@4.0.22 encrypt@4.0.22 gso@4.0.22-4.0.26 gso_dedicated@4.0.22-4.0.22 ip_family@4.0.25
		keep_api_domain@4.0.259 listen@4.0.22 merge_nalus@4.0.22 padding@4.0.23-4.0.26
		perf_stat@4.0.23 protocol@5.0.59 queue_length@4.0.23 resolve_api_domain@4.0.259
		reuseport@4.0.22 rtp_cache@4.0.74-5.0.1 rtp_msg_cache@4.0.74-5.0.1 sendmmsg@4.0.22-4.0.26
		tcp@5.0.59 use_auto_detect_network_ip@4.0.259`,
	"srt_server": `
		connect_timeout default_app@4.0.9 enabled latency listen maxbw mix_correct@4.0.9 mss
		passphrase@5.0.83 payloadsize pbkeylen@5.0.83 peer_idle_timeout@6.0.135 peerlatency recvbuf
		recvlatency sei_filter@4.0.10 sendbuf tlpkdrop tlpktdrop@5.0.28 tsbpdmode@5.0.28`,
	"stats": `disk enabled@4.0.71 network`,
	"stream_caster": `
		ack_timeout@4.0.13-5.0.73 audio_enable@4.0.13 auto_create_channel@4.0.20
		auto_play@4.0.13-5.0.73 caster enabled host@4.0.13 invite_port_fixed@4.0.13-5.0.73
		jitterbuffer_enable@4.0.28-5.0.73 keepalive_timeout@4.0.13-5.0.73 listen output
		print_sip_message@4.0.13-4.0.22 query_catalog_interval@4.0.22-5.0.73 realm@4.0.13-5.0.73
		rtp_idle_timeout@4.0.13 rtp_port_max rtp_port_min serial@4.0.13-5.0.73 sip@4.0.13
		tcp_enable@4.0.56 wait_keyframe@4.0.13`,
	"vhost": `
		bandcheck chunk_size cluster dash dvr enabled exec forward hds hls http_hooks http_remux
		http_static in_ack_size ingest min_latency nack@4.0.25 out_ack_size play publish refer
		rtc@4.0.13 security srt@5.0.28 tcp_nodelay transcode twcc@4.0.26`,
	"vhost.bandcheck": `enabled-5.0.47 interval-5.0.47 key-5.0.47 limit_kbps-5.0.47`,
	"vhost.cluster": `
		coworkers debug_srs_upnode follow_client@5.0.0 mode origin origin_cluster protocol@5.0.0
		token_traverse vhost`,
	"vhost.dash": `
		dash_cleanup@5.0.96 dash_dispose@5.0.96 dash_fragment dash_mpd_file dash_path dash_timeshift
		dash_update_period dash_window_size@5.0.96 enabled`,
	"vhost.dvr": `
		dvr_apply dvr_duration dvr_path dvr_plan dvr_wait_keyframe enabled time_jitter`,
	"vhost.exec":    `enabled publish`,
	"vhost.forward": `backend@5.0.23 destination enabled`,
	"vhost.hls": `
		enabled hls_acodec hls_aof_ratio hls_cleanup hls_ctx@5.0.45 hls_dispose hls_dts_directly
		hls_entry_prefix hls_fragment hls_fragments_per_key hls_key_file hls_key_file_path hls_key_url
		hls_keys hls_m3u8_file hls_mount hls_nb_notify hls_on_error hls_path hls_storage hls_td_ratio
		hls_ts_ctx@5.0.57 hls_ts_file hls_ts_floor hls_vcodec hls_wait_keyframe hls_window`,
	"vhost.http_hooks": `
		enabled on_close on_connect on_dvr on_hls on_hls_notify on_play on_publish on_stop on_unpublish`,
	"vhost.http_remux": `
		drop_if_not_match@5.0.109 enabled fast_cache guess_has_av@5.0.110 has_audio@5.0.110
		has_video@5.0.110 mount`,
	"vhost.http_static": `dir enabled mount`,
	"vhost.ingest":      `enabled engine ffmpeg input`,
	"vhost.play": `
		atc atc_auto gop_cache gop_cache_max_frames@5.0.93 mix_correct mw_latency mw_msgs@4.0.23
		queue_length reduce_sequence_header send_min_interval time_jitter`,
	"vhost.publish": `
		firstpkt_timeout kickoff_for_idle@5.0.144,6.0.31 mr mr_latency normal_timeout parse_sps
		try_annexb_first@5.0.58`,
	"vhost.refer": `all enabled play publish`,
	"vhost.rtc": `
		aac@4.0.13 aac_bitrate@5.0.167,6.0.60 bframe@4.0.13 drop_for_pt@4.0.32 dtls_role@4.0.32
		dtls_version@4.0.32 enabled@4.0.13 keep_avc_nalu_sei@5.0.213,6.0.125 keep_bframe@4.0.174
		keep_sequence@4.0.30-4.0.32 nack@4.0.98 nack_no_copy@4.0.98 opus_bitrate@5.0.167,6.0.60
		pli_for_rtmp@4.0.95 rtc_to_rtmp@4.0.95 rtmp_to_rtc@4.0.174 stun_strict_check@4.0.22
		stun_timeout@4.0.22 twcc@4.0.98`,
	"vhost.security":  `allow deny enabled`,
	"vhost.srt":       `enabled@5.0.28 rtmp_to_srt@5.0.28-5.0.28 srt_to_rtmp@5.0.28`,
	"vhost.transcode": `enabled engine ffmpeg`,
	"vhost.transcode.engine": `
		abitrate achannels acodec aparams asample_rate enabled iformat oformat output perfile vbitrate
		vcodec vfilter vfps vheight vparams vpreset vprofile vthreads vwidth`,
}

// shadowed are directives that SRS 1 and 2 had directly in a vhost. SRS moves them, with a warning,
// into the block that has them now, before it checks anything.
var shadowed = map[string]string{
	"atc": "play", "atc_auto": "play", "gop_cache": "play", "mix_correct": "play",
	"mw_latency": "play", "queue_length": "play", "reduce_sequence_header": "play",
	"send_min_interval": "play", "time_jitter": "play", "gop_cache_max_frames": "play",
	"debug_srs_upnode": "cluster", "mode": "cluster", "origin": "cluster",
	"token_traverse": "cluster", "vhost": "cluster",
}

// directivesOf is what version v knows in a block; ok is false where it doesn't check.
func directivesOf(scope string, v Version) (names map[string]bool, ok bool) {
	list, ok := known[scope]
	if !ok {
		return nil, false
	}
	names = map[string]bool{}
	for _, entry := range strings.Fields(list) {
		if name, yes := knownTo(entry, v); yes {
			names[name] = true
		}
	}
	// The check of a block can be younger than the block.
	return names, len(names) > 0
}

// knownTo reads one entry of the table.
func knownTo(entry string, v Version) (name string, yes bool) {
	entry, last, gone := strings.Cut(entry, "-")
	name, sinces, added := strings.Cut(entry, "@")
	if gone && !mustVersion(last).atLeast(v) {
		return name, false
	}
	if !added {
		return name, true
	}
	// A release branch that isn't mentioned is younger than the change (it has it) or older (it hasn't).
	for _, text := range strings.Split(sinces, ",") {
		since := mustVersion(text)
		if since[0] == v[0] {
			return name, v.atLeast(since)
		}
		yes = yes || v.atLeast(since)
	}
	return name, yes
}

// mustVersion is for versions in the table above.
func mustVersion(text string) Version {
	v, err := ParseVersion(text)
	if err != nil {
		panic(err)
	}
	return v
}

// illegalDirective is the complaint about the first directive that version v doesn't know, or "".
func illegalDirective(root *directive, v Version) string {
	return illegalIn(root, "", "", v)
}

func illegalIn(block *directive, scope, vhost string, v Version) string {
	names, checked := directivesOf(scope, v)
	for _, d := range block.block {
		if checked && !names[d.name] {
			text := "illegal " + scopeAsPrinted(scope, v) + d.name
			if vhost != "" && scope != "vhost" {
				text += " of " + vhost
			}
			return text
		}
	}
	for _, d := range block.block {
		inner, in := strings.TrimPrefix(scope+"."+d.name, "."), vhost
		if inner == "vhost" {
			in = d.arg(0)
		}
		if text := illegalIn(d, inner, in, v); text != "" {
			return text
		}
	}
	return ""
}

// scopeAsPrinted is how SRS calls a block in its refusal, which isn't always the block's name.
func scopeAsPrinted(scope string, v Version) string {
	switch {
	case scope == "":
		return "directive "
	case scope == "http_server":
		return "http_stream."
	case scope == "srt_server" && !v.atLeast(Version{5, 0, 28}):
		return "srt_stream."
	}
	return scope + "."
}

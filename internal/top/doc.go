// Package top shows what a store does over time: rates from its counters, on the pages of a terminal or as lines of
// text.
//
// A Source is asked for statistics every quarter of a second. Between makes rates of two answers, a History keeps the
// last ones. Model has the pages (bubbletea: messages come in, a screen goes out), and knows no terminal; Print has the
// lines.
package top

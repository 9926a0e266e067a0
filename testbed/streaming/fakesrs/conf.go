package fakesrs

import (
	"fmt"
	"os"
	"strings"
)

// directive is one statement of srs.conf: a name, arguments, and the block behind it, if any.
type directive struct {
	name  string
	args  []string
	block []*directive
}

// arg is an argument, "" where there is none.
func (d *directive) arg(i int) string {
	if d == nil || i >= len(d.args) {
		return ""
	}
	return d.args[i]
}

// get is the first directive of this name in the block, nil where there is none. It may be asked of nil.
func (d *directive) get(path ...string) *directive {
	for _, name := range path {
		if d = d.child(name); d == nil {
			return nil
		}
	}
	return d
}

func (d *directive) child(name string) *directive {
	if d == nil {
		return nil
	}
	for _, c := range d.block {
		if c.name == name {
			return c
		}
	}
	return nil
}

func (d *directive) getOrCreate(name string) *directive {
	if c := d.child(name); c != nil {
		return c
	}
	c := &directive{name: name}
	d.block = append(d.block, c)
	return c
}

// loadConf parses a file and what it includes, and moves old directives to their new blocks.
func loadConf(path string) (*directive, error) {
	root := &directive{}
	if err := parseFile(root, path, 0); err != nil {
		return nil, err
	}
	transform(root)
	return root, nil
}

func parseFile(into *directive, path string, depth int) error {
	if depth > 16 {
		return fmt.Errorf("%s: includes itself", path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("open file %s: %w", path, err)
	}
	p := &parser{text: string(text), line: 1}
	return p.block(into, false, func(file string) error { return parseFile(into, file, depth+1) })
}

// parseConf parses text that includes no other file.
func parseConf(text string) (*directive, error) {
	root := &directive{}
	p := &parser{text: text, line: 1}
	err := p.block(root, false, func(file string) error { return fmt.Errorf("include %s: no file here", file) })
	if err == nil {
		transform(root)
	}
	return root, err
}

// parser reads srs.conf. Its grammar is nginx's, with one difference that bites: a directive may not
// go on in the next line. Braces, quotes and # count only where a word begins, so `on}` is a word.
type parser struct {
	text string
	pos  int
	line int
}

type ending int

const (
	endOfFile ending = iota
	endOfBlock
	semicolon
	blockStart
)

// block reads directives up to the end of the file, or of the block.
func (p *parser) block(into *directive, inner bool, include func(string) error) error {
	opened := p.line
	for {
		words, end, err := p.directive()
		if err != nil {
			return err
		}
		switch end {
		case endOfFile:
			if inner {
				return fmt.Errorf(`line %d: unexpected end of file, expecting "}"`, opened)
			}
			return nil
		case endOfBlock:
			if !inner {
				return fmt.Errorf(`line %d: unexpected "}"`, p.line)
			}
			return nil
		}
		if len(words) == 0 {
			return fmt.Errorf("line %d: empty directive", p.line)
		}
		if words[0] == "include" {
			for _, file := range words[1:] {
				if err := include(file); err != nil {
					return err
				}
			}
			continue
		}
		d := &directive{name: words[0], args: words[1:]}
		into.block = append(into.block, d)
		if end == blockStart {
			if err := p.block(d, true, include); err != nil {
				return err
			}
		}
	}
}

// directive reads the words up to a semicolon or brace.
func (p *parser) directive() (words []string, end ending, err error) {
	for p.pos < len(p.text) {
		c := p.text[p.pos]
		switch {
		case c == '\n' || c == '\r':
			if len(words) > 0 {
				return nil, 0, fmt.Errorf("line %d: unexpected end of line to parse token %s", p.line, words[0])
			}
			if c == '\n' {
				p.line++
			}
			p.pos++
		case c == ' ' || c == '\t':
			p.pos++
		case c == '#':
			for p.pos < len(p.text) && p.text[p.pos] != '\n' {
				p.pos++
			}
		case c == ';' || c == '{':
			if len(words) == 0 {
				return nil, 0, fmt.Errorf("line %d: unexpected '%c'", p.line, c)
			}
			p.pos++
			if c == '{' {
				return words, blockStart, nil
			}
			return words, semicolon, nil
		case c == '}':
			if len(words) > 0 {
				return nil, 0, fmt.Errorf("line %d: unexpected '}'", p.line)
			}
			p.pos++
			return nil, endOfBlock, nil
		default:
			word, err := p.word(c)
			if err != nil {
				return nil, 0, err
			}
			if len(words) > 0 && strings.Contains(word, "\n") {
				return nil, 0, fmt.Errorf("line %d: unexpected end of line to parse token %s", p.line, words[0])
			}
			if word != "" {
				words = append(words, word)
			}
		}
	}
	if len(words) > 0 {
		return nil, 0, fmt.Errorf(`line %d: unexpected end of file, expecting ; or "}"`, p.line)
	}
	return nil, endOfFile, nil
}

func (p *parser) word(first byte) (string, error) {
	if first != '"' && first != '\'' {
		start := p.pos
		end := strings.IndexAny(p.text[start:], " \t\r\n;{")
		if end < 0 {
			return "", fmt.Errorf(`line %d: unexpected end of file, expecting ; or "}"`, p.line)
		}
		p.pos += end
		return p.text[start:p.pos], nil
	}
	start := p.pos + 1
	end := strings.IndexByte(p.text[start:], first)
	if end < 0 {
		return "", fmt.Errorf(`line %d: unexpected end of file, expecting ; or "}"`, p.line)
	}
	word := p.text[start : start+end]
	p.line += strings.Count(word, "\n")
	p.pos = start + end + 1
	if p.pos < len(p.text) && !strings.ContainsRune(" \t\r\n;{", rune(p.text[p.pos])) {
		return "", fmt.Errorf("line %d: unexpected '%c'", p.line, p.text[p.pos])
	}
	return word, nil
}

// transform moves what SRS 1 and 2 had elsewhere to where it belongs since.
func transform(root *directive) {
	for _, d := range root.block {
		switch d.name {
		case "http_stream":
			d.name = "http_server"
		case "vhost":
			transformVhost(d)
		}
	}
}

func transformVhost(vhost *directive) {
	var moved []func()
	move := func(c *directive, block, name string) {
		moved = append(moved, func() { vhost.getOrCreate(block).getOrCreate(name).args = c.args })
	}
	kept := vhost.block[:0]
	for _, c := range vhost.block {
		switch to, old := shadowed[c.name]; {
		case old:
			move(c, to, c.name)
			continue
		case c.name == "publish_1stpkt_timeout":
			move(c, "publish", "firstpkt_timeout")
			continue
		case c.name == "publish_normal_timeout":
			move(c, "publish", "normal_timeout")
			continue
		case c.name == "http":
			c.name = "http_static"
		case c.name == "forward" && len(c.block) == 0 && len(c.args) > 0:
			c.block = []*directive{{name: "enabled", args: []string{"on"}}, {name: "destination", args: c.args}}
		}
		kept = append(kept, c)
	}
	vhost.block = kept
	for _, m := range moved { // now: the block they move to may come later in the file
		m()
	}
}

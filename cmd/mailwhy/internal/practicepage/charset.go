package practicepage

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"golang.org/x/text/encoding/charmap"
)

// charsets are the character sets of one byte that mail uses. Those of East Asia would cost a megabyte of
// tables: their texts are shown with replacement characters, and the source as it is.
func charsets() map[string]*charmap.Charmap {
	return map[string]*charmap.Charmap{
		"iso-8859-1": charmap.Windows1252, "latin1": charmap.Windows1252, "iso-8859-2": charmap.ISO8859_2,
		"iso-8859-5": charmap.ISO8859_5, "iso-8859-7": charmap.ISO8859_7, "iso-8859-8": charmap.ISO8859_8,
		"iso-8859-9": charmap.Windows1254, "iso-8859-13": charmap.ISO8859_13,
		"iso-8859-15":  charmap.ISO8859_15,
		"windows-1250": charmap.Windows1250, "windows-1251": charmap.Windows1251,
		"windows-1252": charmap.Windows1252, "windows-1253": charmap.Windows1253,
		"windows-1254": charmap.Windows1254, "windows-1255": charmap.Windows1255,
		"windows-1256": charmap.Windows1256, "windows-1257": charmap.Windows1257, "koi8-r": charmap.KOI8R,
		"koi8-u": charmap.KOI8U,
	}
}

// charsetReader makes UTF-8 of a text, as mime.WordDecoder wants it.
func charsetReader(name string, in io.Reader) (io.Reader, error) {
	if m := charsets()[strings.ToLower(name)]; m != nil {
		return m.NewDecoder().Reader(in), nil
	}
	return nil, fmt.Errorf("the character set %q is not known", name)
}

// toUTF8 is a text in UTF-8, or as it is if its character set is not known.
func toUTF8(name string, text []byte) []byte {
	r, err := charsetReader(name, bytes.NewReader(text))
	if err != nil {
		return text
	}
	out, err := io.ReadAll(r)
	if err != nil {
		return text
	}
	return out
}

package main

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"text/template"
)

// The size of one of the two panels of the picture, and where its lower left corner is.
const (
	panelWidth, panelHeight = 300, 240
	panelLeft, panelBottom  = 50, 290
	panelStep               = panelWidth + 190
)

// picture shows the growth with logarithmic axes. What grows linearly is as steep as the dotted line, which begins where
// the first line does. It has a background of its own, for pages that are dark.
var picture = template.Must(template.New("").Parse(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {{.Width}} 330" font-family="sans-serif" font-size="12">
<rect width="100%" height="100%" rx="6" fill="#ffffff"/>
{{range .Panels}}<text x="{{.Left}}" y="28" font-weight="bold">{{.Title}}</text>
{{range .Grid}}<path d="M{{.X1}} {{.Y1}}L{{.X2}} {{.Y2}}" stroke="#dddddd"/><text x="{{.TextX}}" y="{{.TextY}}" text-anchor="{{.Anchor}}" fill="#555555">{{.Text}}</text>
{{end}}{{range .Lines}}<polyline points="{{.Points}}" fill="none" stroke="{{.Color}}" stroke-width="2"{{if .Dotted}} stroke-dasharray="2 4"{{end}}/><text x="{{.TextX}}" y="{{.TextY}}" fill="{{.Color}}">{{.Name}}</text>
{{end}}{{end}}</svg>
`))

type panel struct {
	Left  int
	Title string
	Grid  []gridLine
	Lines []line
}

type gridLine struct {
	X1, Y1, X2, Y2, TextX, TextY int
	Anchor, Text                 string
}

type line struct {
	Name, Color, Points string
	Dotted              bool
	TextX, TextY        int
	values              []float64
}

// draw writes the picture, if it is wanted.
func (b *bench) draw() error {
	if b.picture == "" {
		return nil
	}
	if len(b.growths) < 2 {
		return fmt.Errorf("-picture: expected at least two numbers of models that were measured (-growth), got %d", len(b.growths))
	}
	f, err := os.Create(b.picture)
	if err != nil {
		return err
	}
	defer f.Close()
	values := func(of func(g growth) float64) (all []float64) {
		for _, g := range b.growths {
			all = append(all, of(g))
		}
		return all
	}
	panels := []*panel{
		{Title: "Seconds to read all models, by their number", Lines: []line{
			{Name: "the source starts", Color: "#0057b7", values: values(growth.start)},
			{Name: "bare read", Color: "#b35900", values: values(growth.read)},
		}},
		{Title: "MiB of the source, by number of models", Lines: []line{
			{Name: "at most", Color: "#b35900", values: values(func(g growth) float64 { return g.Peak })},
			{Name: "afterwards", Color: "#0057b7", values: values(func(g growth) float64 { return g.MiB })},
		}},
	}
	for n, p := range panels {
		p.Left = panelLeft + n*panelStep
		p.plot(b.sizes)
	}
	return picture.Execute(f, map[string]any{"Width": len(panels) * panelStep, "Panels": panels})
}

// plot makes the axes, whole powers of ten, and the points of all lines.
func (p *panel) plot(sizes []int) {
	var linear []float64
	low, high := math.Inf(1), math.Inf(-1)
	for _, n := range sizes {
		linear = append(linear, p.Lines[0].values[0]*float64(n)/float64(sizes[0]))
	}
	p.Lines = append(p.Lines, line{Name: "linear", Color: "#555555", Dotted: true, values: linear})
	for _, l := range p.Lines {
		for _, v := range l.values {
			low, high = min(low, v), max(high, v)
		}
	}
	x := scale{math.Log10(float64(sizes[0])), math.Log10(float64(sizes[len(sizes)-1])), float64(p.Left), float64(p.Left + panelWidth)}
	y := scale{math.Floor(math.Log10(low)), math.Ceil(math.Log10(high)), panelBottom, panelBottom - panelHeight}
	for _, n := range sizes {
		at := x.at(float64(n))
		p.Grid = append(p.Grid, gridLine{at, panelBottom, at, panelBottom - panelHeight, at, panelBottom + 18, "middle", fmt.Sprint(n)})
	}
	for power := y.low; power <= y.high; power++ {
		at := y.at(math.Pow(10, power))
		p.Grid = append(p.Grid, gridLine{p.Left, at, p.Left + panelWidth, at, p.Left - 6, at + 4, "end", fmt.Sprint(math.Pow(10, power))})
	}
	for n := range p.Lines {
		l := &p.Lines[n]
		var points []string
		for k, v := range l.values {
			points = append(points, fmt.Sprintf("%d,%d", x.at(float64(sizes[k])), y.at(v)))
		}
		l.Points = strings.Join(points, " ")
		l.TextX, l.TextY = p.Left+panelWidth+6, y.at(l.values[len(l.values)-1])+4
	}
	p.spread()
}

// spread moves the names of lines that end at the same place apart.
func (p *panel) spread() {
	slices.SortFunc(p.Lines, func(a, b line) int { return a.TextY - b.TextY })
	for n := 1; n < len(p.Lines); n++ {
		p.Lines[n].TextY = max(p.Lines[n].TextY, p.Lines[n-1].TextY+14)
	}
}

// scale maps powers of ten to points of the picture.
type scale struct{ low, high, from, to float64 }

func (s scale) at(value float64) int {
	return int(math.Round(s.from + (s.to-s.from)*(math.Log10(value)-s.low)/(s.high-s.low)))
}

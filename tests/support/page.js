// What is wrong with a page as it is shown: a list of sentences, empty where nothing is. All folded parts are opened first.
// `figureText`: pixels of the smallest letter of a figure as it was drawn.
(figureText) => {
  for (const d of document.querySelectorAll("details")) d.open = true
  const faults = new Map()
  const fault = (kind, what, element) => {
    const seen = faults.get(kind) || { count: 0, example: `${what} at ${where(element)}` }
    seen.count += 1
    faults.set(kind, seen)
  }
  const where = (e) => {
    const name = e.tagName.toLowerCase() + (e.getAttribute("class") ? "." + e.getAttribute("class").replaceAll(" ", ".") : "")
    return `${name} “${(e.textContent || e.getAttribute("alt") || "").trim().replace(/\s+/g, " ").slice(0, 40)}”`
  }
  const style = (e) => getComputedStyle(e)
  const visible = (e) => e.checkVisibility() && e.getBoundingClientRect().width > 1.5
  const page = document.documentElement

  if (page.scrollWidth > innerWidth) fault("the page scrolls sideways", `${page.scrollWidth} px`, page)

  // frames
  const scrolls = (e) => ["auto", "scroll"].includes(style(e).overflowX)
  for (const e of document.body.querySelectorAll("*")) {
    if (e instanceof SVGElement || !visible(e) || e.clientWidth === 0 || e.scrollWidth <= e.clientWidth + 1) continue
    if (scrolls(e)) {
      const hint = style(e).backgroundImage.includes("gradient") && style(e).backgroundAttachment.includes("local")
      if (!hint) fault("scrolls without a hint", `${e.scrollWidth} in ${e.clientWidth} px`, e)
      if (!e.getAttribute("role") || !e.getAttribute("aria-label")) fault("scrolls without a name", "", e)
      if (e.tabIndex < 0 && !e.matches(".fits, .cards")) fault("scrolls, but not by the keyboard", "", e) // those, browsers let it into
    } else if (style(e).overflowX !== "visible") fault("is cut", `${e.scrollWidth} in ${e.clientWidth} px`, e)
    else if (e.scrollWidth > e.clientWidth + 6 && ![...e.children].some((c) => c.scrollWidth > c.clientWidth + 6 && c.clientWidth)) {
      fault("leaves its frame", `${e.scrollWidth} in ${e.clientWidth} px`, e)
    }
  }
  for (const box of document.querySelectorAll(".scrolls")) {
    const first = box.querySelector("td:first-child")
    if (first && box.scrollWidth > box.clientWidth + 1) {
      if (style(first).position !== "sticky") fault("a first column leaves with the others", "", first)
      if (first.offsetWidth > box.clientWidth / 2) fault("a first column takes more than half", `${first.offsetWidth} of ${box.clientWidth} px`, first)
    }
  }

  // texts
  const number = (text) => parseFloat(text) || 0
  const parsed = (colour) => {
    const parts = colour.match(/[\d.]+%?/g).map(number)
    if (colour.startsWith("color(")) return [parts[0] * 255, parts[1] * 255, parts[2] * 255, parts[3] ?? 1]
    return [parts[0], parts[1], parts[2], parts[3] ?? 1]
  }
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1)
  const luminance = (c) => {
    const [r, g, b] = c.slice(0, 3).map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
  }
  const contrast = (a, b) => {
    const [dark, light] = [luminance(a), luminance(b)].sort((x, y) => x - y)
    return (light + 0.05) / (dark + 0.05)
  }
  const layersOf = (e) => {
    const layers = []
    for (let p = e; p; p = p.parentElement) if (!(p instanceof SVGElement)) layers.unshift(parsed(style(p).backgroundColor))
    return layers
  }
  const opacityOf = (e) => {
    let opacity = 1
    for (let p = e; p; p = p.parentElement) opacity *= number(style(p).opacity)
    return opacity
  }
  const inside = (rect, x, y) => rect.left <= x && x <= rect.right && rect.top <= y && y <= rect.bottom
  const paint = (e, colour) => {
    const c = parsed(colour)
    return [c[0], c[1], c[2], c[3] * opacityOf(e)]
  }
  const backgroundOf = (e) => {
    const layers = layersOf(e)
    if (e instanceof SVGElement) {
      const box = e.getBoundingClientRect(), x = box.x + box.width / 2, y = box.y + box.height / 2
      for (const r of e.ownerSVGElement.querySelectorAll("rect")) {
        const below = r.compareDocumentPosition(e) & Node.DOCUMENT_POSITION_FOLLOWING
        if (below && style(r).fill !== "none" && inside(r.getBoundingClientRect(), x, y)) layers.push(paint(r, style(r).fill))
      }
    }
    return layers.reduce((below, top) => over(top, below), [255, 255, 255, 1])
  }
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const e = node.parentElement
    if (!node.textContent.trim() || ["STYLE", "title", "TITLE"].includes(e.tagName) || !visible(e)) continue
    const drawn = e instanceof SVGElement
    const size = number(style(e).fontSize) * (drawn ? e.getScreenCTM().a : 1)
    if (size < 11) fault("text under 11 px", `${size.toFixed(1)} px`, e)
    const background = backgroundOf(e)
    const ratio = contrast(over(paint(e, drawn ? style(e).fill : style(e).color), background), background)
    if (ratio < 4.5) fault("contrast under 4.5", ratio.toFixed(2), e)
  }
  for (const image of document.images) {
    if (!visible(image)) continue
    const inner = image.clientWidth - number(style(image).paddingLeft) - number(style(image).paddingRight)
    const size = (figureText * inner) / image.naturalWidth
    if (size < 11) fault("text of a figure under 11 px", `${size.toFixed(1)} px`, image)
  }
  for (const svg of document.querySelectorAll("svg")) {
    const frame = svg.getBoundingClientRect()
    for (const t of svg.querySelectorAll("text")) {
      const box = t.getBoundingClientRect()
      if (box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1 || box.bottom > frame.bottom + 1) fault("text leaves its diagram", "", t)
    }
  }

  // code: options stay whole
  for (const e of document.querySelectorAll("code")) {
    if (!visible(e)) continue
    const texts = document.createTreeWalker(e, NodeFilter.SHOW_TEXT)
    for (let node = texts.nextNode(); node; node = texts.nextNode()) {
      for (const match of node.textContent.matchAll(/(?<!\S)-{1,2}[\w-]{2,31}(?!\S)/g)) {
        const range = document.createRange()
        range.setStart(node, match.index)
        range.setEnd(node, match.index + match[0].length)
        const lines = new Set([...range.getClientRects()].map((r) => Math.round(r.top)))
        if (lines.size > 1) fault("an option is broken", match[0], e)
      }
    }
  }
  return [...faults].map(([kind, { count, example }]) => `${kind} (${count}): ${example}`)
}

"""JavaScript that measures a page in a browser: what is outside the window, clipped, hidden, or hard to read."""

from __future__ import annotations

OPEN_ALL = "document.querySelectorAll('details').forEach(fold => fold.open = true)"

OUTSIDE = """() => [...document.body.querySelectorAll('*')].filter(e => {
  const box = e.getBoundingClientRect();
  return !e.parentElement.closest('.scroll') && box.width && (box.left < -1 || box.right > window.innerWidth + 1);
}).map(e => `${e.tagName}.${e.getAttribute('class')} ${e.textContent.trim().slice(0, 60)}`)"""
"""Elements that reach beyond the window, except for those within a scrolling table."""

SCROLLING = """() => [document.scrollingElement, ...document.body.querySelectorAll('*')].filter(e =>
  e.scrollWidth > e.clientWidth + 1 && e.clientWidth && getComputedStyle(e).overflowX !== 'visible'
).map(e => `${e.tagName}.${e.getAttribute('class')} ${e.scrollWidth} > ${e.clientWidth}`)"""
"""Elements that a reader would have to scroll from left to right."""

CLIPPED = """() => [...document.querySelectorAll('td, th')].filter(cell =>
  cell.getBoundingClientRect().right > window.innerWidth + 1 || cell.scrollWidth > cell.clientWidth + 1
).map(cell => `${cell.closest('table').id}: ${cell.textContent}`)"""
"""Cells that reach beyond the window, or whose text reaches beyond them."""

HIDDEN = """() => [...document.querySelectorAll('details > *')].filter(e => !e.checkVisibility()
  || !e.getBoundingClientRect().height).map(e => e.parentElement.querySelector('summary').textContent)"""
"""Contents of folds that are not shown."""

FAINT = """() => {
  const canvas = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});
  const over = colours => {
    canvas.clearRect(0, 0, 1, 1);
    for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const luminance = rgb => rgb.map(c => c / 255).map(c => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
  const faint = [];
  for (const e of document.querySelectorAll('body *')) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
    const grounds = [];
    for (let at = e; at; at = at.parentElement) grounds.unshift(getComputedStyle(at).backgroundColor);
    const style = getComputedStyle(e), text = e.closest('svg') ? style.fill : style.color;
    const [low, high] = [over(grounds), over([...grounds, text])].map(luminance).sort((a, b) => a - b);
    const contrast = (high + .05) / (low + .05);
    if (contrast < 4.5) faint.push(`${e.tagName}.${e.getAttribute('class')} ${contrast.toFixed(2)} ${e.textContent}`);
  }
  return faint;
}"""
"""Texts whose contrast with the colours below them is less than 4.5 to 1 (WCAG 2, level AA)."""

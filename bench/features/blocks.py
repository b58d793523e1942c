"""A report as a list of blocks, and its two forms: Markdown, and a page of docs/site. Pure."""
import html
import re

from rig.report import table as markdown_table

PAGE = '''<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>{title}</title>
  <link rel="icon" href="/loom.svg" type="image/svg+xml">
  <link rel="stylesheet" href="/style.css">
</head>
<body>
<header>
  <img src="/loom.svg" alt="">
  <strong>loom</strong>
  <nav><a href="/">Start</a> <a href="/inside/">Inside</a> <a href="/kernel/">Measured</a>
  <a href="/kernel/claims/">Claims</a></nav>
</header>
<main>
{body}
</main>
<footer>Made by <code>bench/kernel-features</code>; the raw figures are in <code>bench/results</code>.</footer>
</body>
</html>
'''


def heading(text, level=2):
    return {'kind': 'heading', 'text': text, 'level': level}


def paragraph(text):
    return {'kind': 'paragraph', 'text': text}


def items(texts):
    return {'kind': 'items', 'items': list(texts)}


def table(columns, rows, words=(0,)):
    return {'kind': 'table', 'columns': columns, 'rows': rows, 'words': tuple(words)}


def figure(file, svg, text):
    """A chart, kept in a file of this name."""
    return {'kind': 'figure', 'file': file, 'svg': svg, 'text': text}


def figures(blocks):
    return {block['file']: block['svg'] for block in blocks if block['kind'] == 'figure'}


def markdown(blocks, charts=''):
    """charts: where the files of the charts lie, seen from the report."""
    parts = []
    for block in blocks:
        kind = block['kind']
        if kind == 'heading':
            parts.append('#' * block['level'] + ' ' + block['text'])
        elif kind == 'paragraph':
            parts.append(block['text'])
        elif kind == 'items':
            parts.append('\n'.join(f'- {item}' for item in block['items']))
        elif kind == 'table':
            rows = [[cell.replace('|', '\\|') for cell in row] for row in block['rows']]
            parts.append(markdown_table(block['columns'], rows, block['words']).rstrip())
        else:
            parts += [f"![{block['file'].removesuffix('.svg')}]({charts}{block['file']})", block['text']]
    return '\n\n'.join(parts) + '\n'


def inline(text):
    """What is said in Markdown within a line: code and strong."""
    text = html.escape(text, quote=False)
    text = re.sub(r'`([^`]*)`', r'<code>\1</code>', text)
    return re.sub(r'\*\*([^*]*)\*\*', r'<strong>\1</strong>', text)


def page(blocks, title):
    parts = []
    for block in blocks:
        kind = block['kind']
        if kind == 'heading':
            level = block['level']
            parts.append(f"  <h{level}>{inline(block['text'])}</h{level}>")
        elif kind == 'paragraph':
            parts.append(f"  <p>{inline(block['text'])}</p>")
        elif kind == 'items':
            parts.append('  <ul>\n' + '\n'.join(f'    <li>{inline(item)}</li>'
                                                for item in block['items']) + '\n  </ul>')
        elif kind == 'table':
            rows = [[('th', cell) for cell in block['columns']],
                    *([('td', cell) for cell in row] for row in block['rows'])]
            text = '\n'.join('    <tr>' + ''.join(
                f'<{tag}{"" if i in block["words"] else " class=figure"}>{inline(cell)}</{tag}>'
                for i, (tag, cell) in enumerate(row)) + '</tr>' for row in rows)
            many = ' many' if len(block['columns']) > 6 else ''
            parts.append(f'  <div class="wide{many}"><table>\n{text}\n  </table></div>')
        else:
            parts.append(f"  <figure><img src={quote(block['file'])} alt={quote(block['text'])} loading=\"lazy\">"
                         f"<figcaption>{inline(block['text'])}</figcaption></figure>")
    return PAGE.format(title=html.escape(title), body='\n'.join(parts))


def quote(text):
    return '"' + html.escape(text) + '"'

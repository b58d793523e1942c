"""The report: options that the three programs share, the account of how it was measured, and tables in Markdown."""
import argparse
import json
import os
import shlex
import sys

from . import machine, peers, servers


def parser(description):
    options = argparse.ArgumentParser(description=description)
    options.add_argument('--loom', action='append', metavar='[LABEL=]PATH',
                         help='a loom binary; repeat it, with labels, to compare builds (default: build build/release)')
    options.add_argument('--build', metavar='DIR', default=os.path.join(servers.TREE, 'build', 'release'),
                         help='where the release is built; bench/limit is taken from there (default: build/release)')
    options.add_argument('--no-build', action='store_true',
                         help='build nothing: take the limits from --build as they are, and loom from --loom')
    options.add_argument('--servers', metavar='A,B,...', help='only these, in this order (default: all that are here)')
    options.add_argument('--cores', choices=['one', 'two'], default='one',
                         help='server and client on one core under SCHED_BATCH (steadier; default), or on two')
    options.add_argument('--json', metavar='FILE', help='write the figures there')
    options.add_argument('--markdown', metavar='FILE', help='write the report there, too')
    return options


def find_targets(options):
    """{name: path} of the programs of this tree; builds them, unless that is not wanted: then the limits that are there."""
    if not options.no_build:
        return servers.build(options.build)
    targets = {}
    for name in ('limit_epoll', 'limit_uring', 'limit_file', 'limit_log'):
        for path in (os.path.join(options.build, name), os.path.join(options.build, 'bench', name)):
            if os.access(path, os.X_OK):
                targets[name] = path
    return targets


def find_servers(options, with_absent=False, logged=False):
    """The servers that the options ask for; builds what they need. with_absent: also peers that are not installed. logged:
    beside each loom the same that writes an access log and has metrics."""
    names = options.servers.split(',') if options.servers else None
    targets = find_targets(options)
    looms = []
    for number, given in enumerate(options.loom or [targets[name] for name in ('loom',) if name in targets]):
        label, _, path = given.rpartition('=')
        looms.append((label or ('loom' if not number else f'loom{number + 1}'), os.path.abspath(path)))
    limits = {backend: os.path.abspath(targets[name])
              for backend, name in (('epoll', 'limit_epoll'), ('io_uring', 'limit_uring')) if name in targets}
    chosen = peers.choose(looms, limits, names, with_absent)
    if not logged:
        return chosen
    if 'limit_log' not in targets:
        sys.exit('bench: --logged needs bench/limit_log (--build DIR, of a build with -Dbench=true)')
    path = os.path.abspath(targets['limit_log'])
    return [one for server in chosen
            for one in ([server, servers.Logged(server, path)] if server.family == 'loom' else [server])]


def begin(options, chosen, cores, settings):
    """The account that every report begins with."""
    return {
        'date': machine.now(),
        'command': ' '.join([os.path.relpath(sys.argv[0], servers.TREE), *map(shlex.quote, sys.argv[1:])]),
        'machine': machine.describe(),
        'network': machine.network(),
        'arrangement': options.cores,
        'cores': str(cores),
        'settings': settings,
        'versions': {**{server.label: server.version() for server in chosen},
                     'wrk': servers.first_line(['wrk', '-v']).split(' Copyright')[0]},
    }


def account(report):
    """The same in Markdown."""
    host, net = report['machine'], report['network']
    lines = [
        f"- {report['date']}: `{report['command']}`",
        f"- {host['cpu']}, {host['cpus']} CPUs{' (virtual)' if host['hypervisor'] else ''}, "
        f"{host['memory_mib']} MiB, Linux {host['kernel']}, {host['system']}",
        f"- {report['cores']}; network namespace: {net['namespace']}, TCP congestion control: "
        f"{net['congestion_control']}",
        '- ' + '; '.join(f'{name}: {value}' for name, value in report['settings'].items()),
        '- ' + '; '.join(f'{label}: {version}' for label, version in report['versions'].items()),
    ]
    if net['congestion_control'] not in ('cubic', 'reno'):
        lines.append('- **Large bodies are not to be trusted here**: this congestion control paces its sends.')
    return '\n'.join(lines) + '\n'


def table(columns, rows, words=(0,)):
    """Markdown, readable as plain text: columns of words are flush left, figures flush right."""
    widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]
    lines = ['| ' + ' | '.join(f'{cell:<{width}}' if i in words else f'{cell:>{width}}'
                               for i, (cell, width) in enumerate(zip(row, widths))) + ' |'
             for row in [columns, *rows]]
    rule = '|' + '|'.join('-' * (width + 2) if i in words else '-' * (width + 1) + ':'
                          for i, width in enumerate(widths)) + '|'
    return '\n'.join([lines[0], rule, *lines[1:]]) + '\n'


class Output:
    """The report goes to standard output as it grows, and at the end to the files that were asked for."""

    def __init__(self, options):
        self.options = options
        self.text = []

    def say(self, text):
        print(text, flush=True)
        self.text.append(text)

    def finish(self, report):
        if self.options.json:
            with open(self.options.json, 'w', encoding='utf-8') as file:
                json.dump(report, file, indent=1)
                file.write('\n')
        if self.options.markdown:
            with open(self.options.markdown, 'w', encoding='utf-8') as file:
                file.write('\n'.join(self.text) + '\n')


def progress(text):
    if sys.stderr.isatty():
        print(f'\r\x1b[K{text}', end='', file=sys.stderr, flush=True)


def figure(value, digits=2):
    return '-' if value is None else f'{value:.{digits}f}'

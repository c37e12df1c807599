'use strict';
'require view';
'require rpc';
'require ui';
'require poll';
'require dom';

/* The answer of a method, or an Error with the hint that came with it. */
function declare(method, params) {
	const call = rpc.declare({
		object: 'lastlog', method: method, params: params, reject: true, nobatch: true
	});

	return (...values) => call(...values).then((reply) => {
		if (reply?.error)
			throw Object.assign(new Error(reply.error.message), reply.error);

		return reply;
	});
}

const callPage = declare('page', [ 'id' ]);
const callList = declare('list');
const callGet = declare('get', [ 'id' ]);
const callStatus = declare('status');
const callSave = declare('save', [ 'id' ]);
const callClear = declare('clear', [ 'what', 'id', 'force' ]);

const POLL_SECONDS = 30;
const REPORT_LINES = 80;

/* Control characters, and those that hide or turn text around, have no business in a sentence. */
function plain(text) {
	return String(text ?? '').replace(
		/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g, '\ufffd');
}

function ago(time) {
	const seconds = (time - Date.now()) / 1000;
	const units = [ [ 'second', 1 ], [ 'minute', 60 ], [ 'hour', 3600 ], [ 'day', 86400 ], [ 'month', 2629800 ], [ 'year', 31557600 ] ];
	const unit = units.filter((each) => -seconds >= each[1]).pop() ?? units[0];

	return new Intl.RelativeTimeFormat('en', { numeric: 'auto' }).format(Math.round(seconds / unit[1]), unit[0]);
}

/* What the backend rendered is cached, so times grow old here, not there. */
function tellTimes(node) {
	node.querySelectorAll('time[datetime]').forEach((each) => {
		const time = Date.parse(each.dateTime);

		each.title = new Date(time).toLocaleString();

		if ('relative' in each.dataset && time <= Date.now() + 60000)
			each.textContent = ago(time);
	});
}

/* LuCI puts notifications on top of the page, which may be scrolled out of sight. */
function notify(lines, kind) {
	const box = ui.addNotification(null, lines.filter(Boolean).map((line) => E('p', {}, [ line ])), kind);

	box.style.scrollMarginTop = '5em';
	box.scrollIntoView({ block: 'nearest' });
}

function complain(error) {
	notify([ plain(error.message ?? error), plain(error.hint) ], 'error');
}

/* "Panic#2, NULL pointer dereference in foo". */
function named(record) {
	const kernel = record.kernel ?? {};
	const number = kernel.sequence == null ? '' : '%s#%d, '.format(kernel.reason, kernel.sequence);

	return plain(number.charAt(0).toUpperCase() + number.slice(1) + (record.title || record.kind));
}

/* What was not done, with its reasons in words. */
function reasons(left) {
	return left.map((each) => '%s: %s'.format(plain(each.id), plain(each.why)));
}

/* The facts of a record, name and value, of those that are known. */
function facts(record) {
	const kernel = record.kernel ?? {}, boot = record.boot ?? {};
	const place = kernel.function && '%s%s%s'.format(kernel.function,
		kernel.offset ? '+' + kernel.offset : '', kernel.module ? ' [' + kernel.module + ']' : '');

	return [
		[ 'Title', record.title ],
		[ 'Record', record.id ],
		[ 'Kind', [ record.kind, kernel.reason ].filter(Boolean).join(', ') ],
		[ 'Time', record.time == null ? 'not known' : new Date(record.time * 1000).toISOString()
			+ (record.time_trusted ? '' : ' (the clock was not set)') ],
		[ 'Uptime', record.uptime == null ? null : record.uptime + ' s' ],
		[ 'Cause', kernel.cause ],
		[ 'Where', place ],
		[ 'Process', kernel.process ],
		[ 'Kernel', kernel.release ?? boot.kernel ],
		[ 'Tainted', kernel.tainted ],
		[ 'Firmware', boot.firmware ],
		[ 'Hardware', kernel.hardware ],
		[ 'Signature', record.signature ],
		[ 'Seen', record.count > 1 ? record.count + ' times' : null ]
	].filter((fact) => fact[1]).map((fact) => fact[0] + ': ' + plain(fact[1])).join('\n');
}

/* Text in a fence that nothing in it can close. */
function fenced(text) {
	const longest = (text.match(/`+/g) ?? []).reduce((most, run) => Math.max(most, run.length), 2);
	const fence = '`'.repeat(longest + 1);

	return fence + '\n' + text.replace(/\n$/, '') + '\n' + fence;
}

function traced(frame) {
	return '%s%s%s%s'.format(frame.reliable ? '  ' : '? ', plain(frame.function),
		frame.offset ? '+' + frame.offset : '', frame.module ? ' [' + plain(frame.module) + ']' : '');
}

/* Markdown for somebody who knows neither this router nor lastlog. */
function report(record, version) {
	const trace = (record.kernel?.trace ?? []).map(traced);
	const end = record.text.split('\n').slice(-REPORT_LINES).join('\n');

	return [
		'### ' + plain(record.title || record.kind),
		fenced(facts(record) + '\nReported by: lastlog ' + version),
		trace.length ? 'Call trace:\n\n' + fenced(trace.join('\n')) : null,
		'The end of the log:\n\n' + fenced(end)
	].filter(Boolean).join('\n\n') + '\n';
}

function download(name, content) {
	const url = URL.createObjectURL(new Blob([ content ], { type: 'text/plain;charset=utf-8' }));
	const link = E('a', { 'href': url, 'download': name });

	document.body.appendChild(link);
	link.click();
	link.remove();
	URL.revokeObjectURL(url);
}

/* LuCI mostly runs over plain HTTP, where browsers offer no navigator.clipboard. */
function copy(text) {
	if (navigator.clipboard && window.isSecureContext)
		return navigator.clipboard.writeText(text);

	const area = E('textarea', { 'style': 'position:fixed;opacity:0', 'readonly': '' });

	area.value = text;
	document.body.appendChild(area);
	area.select();
	const done = document.execCommand('copy');
	area.remove();

	return done ? Promise.resolve() : Promise.reject(new Error(_('The browser did not allow copying.')));
}

function isBusy(node) {
	const selection = window.getSelection();

	return !selection.isCollapsed && node.contains(selection.anchorNode);
}

return view.extend({
	handleSave: null,
	handleSaveApply: null,
	handleReset: null,

	load() {
		const wanted = window.location.hash.slice(1);

		this.open = /^[a-z0-9-]{1,40}$/.test(wanted) ? wanted : undefined;

		return this.fetch().catch((error) => {
			complain(error);
		});
	},

	render(page) {
		this.node = E('div', { 'click': (ev) => this.handleAction(ev) }, [
			E('p', { 'class': 'spinning' }, [ _('Waiting for lastlog…') ])
		]);

		if (page)
			this.draw(page);

		poll.add(() => this.refresh(false), POLL_SECONDS);

		return this.node;
	},

	/* The page for the open record; without one, should that be gone. */
	fetch() {
		return callPage(this.open).catch((error) => {
			if (error.code != 'not-found' || this.open === undefined)
				throw error;

			this.open = undefined;

			return callPage();
		});
	},

	/* Replaced only when something changed, and never under a reader's selection. */
	refresh(force) {
		if (!force && (document.hidden || Date.now() - this.drawn < 5000))
			return Promise.resolve();

		const asked = this.open;

		return this.fetch().then((page) => {
			if (asked !== this.open && !force)
				return;

			if (force || (page.generation !== this.generation && !isBusy(this.node)))
				this.draw(page);
			else
				tellTimes(this.node);
		}).catch((error) => {
			if (force)
				throw error;
		});
	},

	draw(page) {
		const kept = this.look();

		dom.content(this.node, page.html);

		if (L.hasViewPermission() === false)
			this.node.querySelectorAll('[data-write]').forEach((each) => each.remove());

		this.generation = page.generation;
		this.drawn = Date.now();
		this.lookAs(kept);
		tellTimes(this.node);
	},

	/* What is unfolded, and how far it is scrolled. */
	look() {
		return Array.from(this.node.querySelectorAll('details[data-fold]'), (each) => ({
			fold: each.dataset.fold,
			open: each.open,
			top: each.querySelector('pre')?.scrollTop
		}));
	},

	lookAs(kept) {
		for (const each of this.node.querySelectorAll('details[data-fold]')) {
			const before = kept.find((other) => other.fold == each.dataset.fold);

			if (before) {
				each.open = before.open;
				each.querySelector('pre')?.scrollTo(0, before.top);
			}
		}
	},

	handleAction(ev) {
		const button = ev.target.closest('[data-action]');
		const handler = button && {
			open: this.handleOpen, save: this.handleKeep, clear: this.handleClear,
			'delete': this.handleDelete, download: this.handleDownload, copy: this.handleCopy
		}[button.dataset.action];

		if (!handler)
			return;

		ev.preventDefault();
		button.disabled = true;
		button.classList.add('spinning');

		return handler.call(this, button.dataset.id).catch(complain).finally(() => {
			button.disabled = false;
			button.classList.remove('spinning');
		});
	},

	handleOpen(id) {
		const before = this.open;

		this.open = id;

		return this.refresh(true).then(() => {
			window.history.replaceState(null, '', '#' + id);
			this.node.querySelector('.ll-record')?.scrollIntoView();
		}, (error) => {
			this.open = before;
			throw error;
		});
	},

	handleKeep() {
		return this.keep().then(() => this.refresh(true));
	},

	/* Save what is captured and say so; whether everything was saved. */
	keep() {
		return callSave().then((reply) => {
			const left = reply.skipped ?? [];

			if (reply.saved?.length)
				notify([ N_(reply.saved.length, '%d record was saved.', '%d records were saved.').format(reply.saved.length) ], 'info');
			else if (!left.length)
				notify([ _('Everything is saved already.') ], 'info');

			if (left.length)
				notify([ _('Not saved:') ].concat(reasons(left)), 'warning');

			return !left.length;
		});
	},

	handleClear() {
		return callList().then((reply) => {
			const going = reply.records.filter((each) => each.state == 'captured' || each.state == 'both');
			const lost = going.filter((each) => each.state == 'captured').length;

			this.ask(_('Clear persistent memory?'), [
				E('p', {}, [ _('This goes from memory, so that it is free for the next crash:') ]),
				E('ul', {}, going.slice(0, 12).map((each) => E('li', {}, [
					'%s: %s'.format(named(each),
						each.state == 'both' ? _('saved, the saved copy stays') : _('not saved yet'))
				]))),
				going.length > 12 ? E('p', {}, [ _('and %d more').format(going.length - 12) ]) : '',
				lost ? E('p', {}, [ E('strong', {}, [ N_(lost,
					'%d record is not saved yet. Cleared without saving, it is lost for good.',
					'%d records are not saved yet. Cleared without saving, they are lost for good.').format(lost) ]) ]) : ''
			], lost ? [
				[ 'negative', _('Clear without saving'), () => this.clear('memory', undefined, true) ],
				[ 'positive important', _('Save first, then clear'), () => this.keep().then((all) => all ? this.clear('memory') : this.refresh(true)) ]
			] : [
				[ 'negative important', _('Clear'), () => this.clear('memory') ]
			]);
		});
	},

	handleDelete(id) {
		this.ask(_('Delete this saved record?'), [
			E('p', {}, [ _('It is in no other place: deleted, it is lost for good.') ])
		], [ [ 'negative important', _('Delete'), () => this.clear('saved', id) ] ]);

		return Promise.resolve();
	},

	/* A question: Cancel, and buttons of [ class, text, what to do ], the default last. */
	ask(title, content, choices) {
		const cancel = E('button', { 'class': 'btn', 'click': ui.hideModal }, [ _('Cancel') ]);
		const buttons = choices.map((choice) => E('button', {
			'class': 'btn cbi-button cbi-button-' + choice[0],
			'click': ui.createHandlerFn(this, () => choice[2]().catch(complain).finally(ui.hideModal))
		}, [ choice[1] ]));

		ui.showModal(title, content.concat([
			E('div', { 'class': 'right', 'style': 'display:flex;flex-wrap:wrap;gap:.5em;justify-content:flex-end' },
				[ cancel ].concat(buttons))
		]));
		buttons[buttons.length - 1].focus();
	},

	clear(what, id, force) {
		return callClear(what, id, force).then((reply) => {
			const kept = reply.kept ?? [], gone = reply.cleared?.length ?? 0;

			notify([ N_(gone, '%d record was cleared.', '%d records were cleared.').format(gone) ], 'info');

			if (kept.length)
				notify([ _('Not cleared:') ].concat(reasons(kept)), 'warning');

			return this.refresh(true);
		});
	},

	handleDownload(id) {
		return callGet(id).then((record) => {
			const note = record.cut ? '\nNote: only the newest part of the text' : '';

			download('lastlog-%s.txt'.format(record.id), facts(record) + note + '\n\n' + record.text);
		});
	},

	handleCopy(id) {
		return Promise.all([ callGet(id), callStatus() ])
			.then((replies) => copy(report(replies[0], replies[1].version)))
			.then(() => notify([ _('Copied. Paste it into a bug report.') ], 'info'));
	}
});

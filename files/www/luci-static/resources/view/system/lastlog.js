'use strict';
'require view';
'require rpc';
'require ui';
'require poll';
'require dom';

/* All HTML, that of the dialogs too, comes from lastlog's templates through `page`. */

/* The answer of a method; an error in it rejects, with its message and hint. */
function declare(method, params) {
	const call = rpc.declare({ object: 'lastlog', method, params, reject: true, nobatch: true });

	return (...values) => call(...values).then((reply) => reply.error ? Promise.reject(reply.error) : reply);
}

const callPage = declare('page', [ 'id' ]);
const callGet = declare('get', [ 'id' ]);
const callSave = declare('save');
const callClear = declare('clear', [ 'what', 'ids', 'force' ]);

/* LuCI puts notifications on top of the page, which may be scrolled out of sight. */
function notify(kind, ...lines) {
	const box = ui.addNotification(null, lines.filter(Boolean).map((line) => E('p', {}, [ line ])), kind);

	box.style.scrollMarginTop = '5em';
	box.scrollIntoView({ block: 'nearest' });
}

function complain(error) {
	notify('error', error.message, error.hint);
}

function notifyLeft(title, left) {
	if (left.length)
		notify('warning', title, ...left.map((each) => '%s: %s'.format(each.id, each.why)));
}

/* Saves what is captured and says so; whether everything was saved. */
function save() {
	return callSave().then(({ saved, skipped }) => {
		notify('info', saved.length
			? N_(saved.length, '%d record was saved.', '%d records were saved.').format(saved.length)
			: _('Nothing new was saved.'));
		notifyLeft(_('Not saved:'), skipped);

		return !skipped.length;
	});
}

/* Clears and says so; without ids, everything that is saved. */
function clear(what, ids, force) {
	return callClear(what, ids, force).then(({ cleared, kept }) => {
		notify('info', N_(cleared.length, '%d record was cleared.', '%d records were cleared.').format(cleared.length));
		notifyLeft(_('Not cleared:'), kept);
	});
}

function download(name, content) {
	const url = URL.createObjectURL(new Blob([ content ], { type: 'text/plain;charset=utf-8' }));

	E('a', { 'href': url, 'download': name }).click();
	URL.revokeObjectURL(url);
}

/* LuCI mostly runs over plain HTTP, where browsers offer no navigator.clipboard. */
function copy(text) {
	if (navigator.clipboard && window.isSecureContext)
		return navigator.clipboard.writeText(text);

	const area = document.body.appendChild(E('textarea', { 'style': 'position:fixed;opacity:0' }));

	area.value = text;
	area.select();
	const done = document.execCommand('copy');
	area.remove();

	return done ? Promise.resolve() : Promise.reject(new Error(_('The browser did not allow copying.')));
}

/* Pages are cached, so their times grow old here, not there. */
function tellTimes(node) {
	const units = { year: 31557600, month: 2629800, day: 86400, hour: 3600, minute: 60, second: 1 };

	for (const each of node.querySelectorAll('time[datetime]')) {
		const time = new Date(each.dateTime), seconds = (Date.now() - time) / 1000;
		const unit = Object.keys(units).find((name) => seconds >= units[name]) ?? 'second';

		each.title = time.toLocaleString();
		if ('relative' in each.dataset && seconds > -60)
			each.textContent = new Intl.RelativeTimeFormat('en', { numeric: 'auto' }).format(-Math.round(seconds / units[unit]), unit);
	}
}

/* What is unfolded and scrolled in `node` stays so when `replace` puts other content in. */
function keepFolds(node, replace) {
	const folds = () => Array.from(node.querySelectorAll('details[data-fold]'));
	const before = folds().map((each) => ({ name: each.dataset.fold, open: each.open, top: each.querySelector('pre')?.scrollTop }));

	replace();
	for (const each of folds()) {
		const { open, top } = before.find(({ name }) => name == each.dataset.fold) ?? each;

		each.open = open;
		each.querySelector('pre')?.scrollTo(0, top);
	}
}

/* What a button does, by its data-action: called with the view and the button's dataset. */
const actions = {
	open: (view, { id }) => view.show(id),
	download: (view, { id }) => callGet(id).then((record) => download('lastlog-%s.txt'.format(id), record.header + record.text)),
	copy: (view, { id }) => callGet(id).then((record) => copy(record.report))
		.then(() => notify('info', _('Copied. Paste it into a bug report.'))),

	/* Refreshed first, so that what is asked about is what is there. */
	ask: (view, about) => view.refresh().then(() => view.ask(about)),
	cancel: () => Promise.resolve(),

	save: (view) => save().finally(() => view.refresh()),
	clear: (view) => clear('memory').finally(() => view.refresh()),
	'save-clear': (view) => save().then((all) => all && clear('memory')).finally(() => view.refresh()),
	'delete': (view, { ids }) => clear('saved', ids.split(' ')).finally(() => view.restart()),

	/* Only what the dialog was about: nobody has seen what was captured since. */
	'clear-force': (view, { ids }) => clear('memory', ids.split(' '), true).finally(() => view.restart())
};

return view.extend({
	handleSave: null,
	handleSaveApply: null,
	handleReset: null,

	/* The record that the address names. */
	wanted() {
		return window.location.hash.match(/^#([a-z0-9-]{1,40})$/)?.[1];
	},

	load() {
		this.open = this.wanted();

		return callPage(this.open).catch(complain);
	},

	render(page) {
		this.node = E('div', { 'click': (ev) => this.handleAction(ev) }, [
			E('p', { 'class': 'spinning' }, [ _('Waiting for lastlog…') ])
		]);

		if (page)
			this.draw(page);
		poll.add(() => this.poll(), 30);
		window.addEventListener('hashchange', () => this.wanted() && this.show(this.wanted()).catch(complain));

		return this.node;
	},

	draw(page) {
		keepFolds(this.node, () => dom.content(this.node, page.html));
		if (L.hasViewPermission() === false)
			this.node.querySelectorAll('[data-write]').forEach((each) => each.remove());
		tellTimes(this.node);

		this.generation = page.generation;
		this.drawn = Date.now();
	},

	refresh() {
		return callPage(this.open).then((page) => this.draw(page));
	},

	/* The same when the open record may be what has just gone. */
	restart() {
		this.open = undefined;
		window.history.replaceState(null, '', '#');

		return this.refresh();
	},

	show(id) {
		return callPage(id).then((page) => {
			this.open = id;
			this.draw(page);
			window.history.replaceState(null, '', '#' + id);
			this.node.querySelector('.ll-record')?.scrollIntoView();
			this.node.querySelector('.ll-record h3')?.focus({ preventScroll: true });
		});
	},

	/* Replaces only what has changed, and nothing under a reader's selection. */
	poll() {
		const asked = this.open;

		if (document.hidden || Date.now() - this.drawn < 5000)
			return Promise.resolve();

		return callPage(asked).then((page) => {
			const selection = window.getSelection();
			const isReading = !selection.isCollapsed && this.node.contains(selection.anchorNode);

			if (asked === this.open && page.generation !== this.generation && !isReading)
				this.draw(page);
			else
				tellTimes(this.node);
		}).catch(() => {}); /* in half a minute it asks again */
	},

	/* Does what the clicked button says; a promise that is kept once it is done, if it was one. */
	handleAction(ev) {
		const button = ev.target.closest('[data-action]');

		if (!button)
			return;

		button.disabled = true;
		button.classList.add('spinning');

		return actions[button.dataset.action](this, button.dataset).catch(complain).finally(() => {
			button.disabled = false;
			button.classList.remove('spinning');
		});
	},

	/* The page's dialog of that name, about the record `id`; none, if nothing is left to ask. */
	ask({ dialog, id }) {
		const name = id ? dialog + '-' + id : dialog;
		const template = this.node.querySelector('template[data-dialog="%s"]'.format(name));

		if (!template)
			return;

		const content = E('div', { 'class': 'lastlog', 'click': (ev) => this.handleAction(ev)?.finally(ui.hideModal) },
			[ document.importNode(template.content, true) ]);
		const button = content.querySelector('[data-default]');

		ui.showModal(template.dataset.title, [ content ]);
		button.focus();
	}
});

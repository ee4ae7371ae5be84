"""clean() of E.5: ftfy, html twice, whitespace."""

from golden import Golden
from plain.text import clean

STRINGS = ["", " ", "plain ascii", "schÃ¶n", "Ã©tÃ© Ã  la plage", "âœ” No problems", "l’humanitÃ©", "The Mona Lisa doesnÃƒÂ¢Ã¢â€šÂ¬Ã¢â€žÂ¢t have eyebrows.",
           "it’s “quoted” text", "‘single’ „low“ «guillemets»", "ＦＵＬＬ ＷＩＤＴＨ　１２３！", "ｶﾀｶﾅ ﾊﾝｶｸ", "&lt;b&gt; &amp;amp; &quot;x&quot;",
           "&amp;lt;b&amp;gt;", "&amp;amp;lt;", "&eacute;t&eacute; &#233; &#x4e2d; &copy", "<b>&lt;tag</b> &amp;", "&nbsp;a&nbsp;b", "&ampersand &notit; &unknown;",
           "a\u00a0b\u00a0", "tab\tnew\nline\r\ncrlf\rcr", "  many    spaces  ", "a\u2028b\u2029c\u0085d", "zero\u200bwidth\u200cnon\u200djoin", "\ufeffbom at start",
           "ﬁne ﬂow oﬃce ﬀ ﬆ", "cafe\u0301", "A\u030a \u212b \u2126", "control\x00\x01\x08\x0b\x0c\x1b[31mred\x1b[0m\x7f", "c1 \x80\x93\x9d end", "soft\u00adhyphen",
           "ellipsis… en–dash em—dash minus−", "emoji 😀👩‍👩‍👧 ok", "ðŸ˜€ mojibake emoji", "中文，全角。标点！", "æ–‡å­—åŒ–ã\u0081‘", "\u202eright to left\u202c",
           "Ĳsselmeer ǆ Ǉ", "½ ² ™ ℃ ①", "na\u00efve r\u00e9sum\u00e9", "\u3000ideographic\u3000space\u3000", "&#128;&#150;&#0;&#xD800;&#1114112;", "&lsquo;x&rsquo; &ldquo;y&rdquo;",
           "line1\u000bline2\u001cline3\u001dx\u001ey\u001fz", "voilÃ le travail", "Ã¼ber Ã", "\ufffd replacement ï¿½", "â€œcurlyâ€\u009d", "\ue000private \ufdd0 noncharacter",
           "&lt;script&gt;alert(1)&lt;/script&gt;", "a &amp b &amp;c &LT;d", "\u2003em\u2009thin\u205fmath\u1680ogham\u180emongol\u202fnarrow"]


def make():
    golden = Golden("clean")
    golden.fields["strings"] = [{"text": text, "clean": clean(text)} for text in STRINGS]
    golden.save()

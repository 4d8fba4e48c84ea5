"""How often each text says each word, by its stem: what a search by words reads."""

from alembic import op

revision = "0009"
down_revision = "0008"

TEXTS = {
    "macro_events": ("MACRO", "event_id", "{0}.metadata->>'language'", "{0}.description"),
    "news_articles": ("NEWS", "article_id", "{0}.language", "concat_ws(E'\\n\\n', {0}.headline, {0}.body)"),
}
"""Of each table of texts: the source type, the key, the language a row says, and all its text."""

STATEMENTS = (
    """
    CREATE TABLE text_words (
        source_type   text      NOT NULL,
        source_id     bigint    NOT NULL,
        configuration text      NOT NULL,
        n_words       bigint    NOT NULL,
        stems         text[]    NOT NULL,
        counts        integer[] NOT NULL CHECK (cardinality(counts) = cardinality(stems)),
        PRIMARY KEY (source_type, source_id)
    )
    """,
    # those that PostgreSQL 14 and later stem; what is not said is English, and words of other languages stay whole
    """
    CREATE FUNCTION text_configuration(language text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
        SELECT CASE WHEN coalesce(language, '') = '' THEN 'english' ELSE coalesce((
            SELECT configuration FROM (VALUES
                ('arabic', 'ar ara arabic'), ('armenian', 'hy hye arm armenian'), ('basque', 'eu eus baq basque'),
                ('catalan', 'ca cat catalan'), ('danish', 'da dan danish'), ('dutch', 'nl nld dut dutch'),
                ('english', 'en eng english'), ('finnish', 'fi fin finnish'), ('french', 'fr fra fre french'),
                ('german', 'de deu ger german'), ('greek', 'el ell gre greek'), ('hindi', 'hi hin hindi'),
                ('hungarian', 'hu hun hungarian'), ('indonesian', 'id ind in indonesian'), ('irish', 'ga gle irish'),
                ('italian', 'it ita italian'), ('lithuanian', 'lt lit lithuanian'), ('nepali', 'ne nep nepali'),
                ('norwegian', 'no nor norwegian nb nob bokmål nn nno nynorsk'), ('portuguese', 'pt por portuguese'),
                ('romanian', 'ro ron rum romanian'), ('russian', 'ru rus russian'), ('serbian', 'sr srp serbian'),
                ('spanish', 'es spa spanish'), ('swedish', 'sv swe swedish'), ('tamil', 'ta tam tamil'),
                ('turkish', 'tr tur turkish'), ('yiddish', 'yi yid yiddish')
            ) AS stemmed(configuration, spellings)
            WHERE split_part(replace(lower(language), '_', '-'), '-', 1) = ANY (string_to_array(spellings, ' '))
        ), 'simple') END
    $$
    """,
    # A tsvector keeps at most 255 places of a stem, and none after the 16,383rd word: it is fast, and exact for texts
    # that reach neither. The others are parsed and stemmed token by token; both leave out tokens of 2,047 bytes.
    """
    CREATE FUNCTION count_stems(configuration text, body text, OUT stems text[], OUT counts integer[])
    LANGUAGE plpgsql STABLE AS $$
    DECLARE
        chosen CONSTANT regconfig := ('pg_catalog.' || quote_ident(configuration))::regconfig;
    BEGIN
        IF length(body) <= 32766 THEN
            SELECT array_agg(lexeme), array_agg(cardinality(positions)) INTO stems, counts
            FROM unnest(to_tsvector(chosen, body));
        END IF;
        IF length(body) > 32766 OR 255 <= ANY(counts) THEN
            SELECT array_agg(stem), array_agg(n) INTO stems, counts FROM (
                SELECT stem, sum(n)::integer AS n
                FROM (
                    SELECT tokid, token, count(*) AS n FROM ts_parse('pg_catalog.default', body)
                    WHERE octet_length(token) < 2047 GROUP BY tokid, token
                ) AS tokens
                JOIN pg_ts_config_map ON mapcfg = chosen AND maptokentype = tokid
                CROSS JOIN LATERAL unnest(ts_lexize(mapdict::regdictionary, token)) AS stem
                GROUP BY stem
            ) AS counted;
        END IF;
        stems := coalesce(stems, '{}');
        counts := coalesce(counts, '{}');
    END $$
    """,
)
# triggers, so that no way to write a text forgets its words; as the owner, so that its writer needs no further right
TRIGGERS = (
    """
    CREATE FUNCTION count_words_of_{table}() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
    BEGIN
        IF TG_OP = 'TRUNCATE' THEN
            DELETE FROM text_words WHERE source_type = '{source}';
        END IF;
        IF TG_OP = 'DELETE' THEN
            DELETE FROM text_words USING old_texts WHERE source_type = '{source}' AND source_id = {key};
        END IF;
        IF TG_OP = 'UPDATE' THEN
            DELETE FROM text_words USING old_texts AS o
            WHERE source_type = '{source}' AND source_id = o.{key} AND NOT EXISTS (
                SELECT FROM new_texts AS n WHERE n.{key} = o.{key}
                AND ({new_language}, {new_body}) IS NOT DISTINCT FROM ({old_language}, {old_body})
            );
        END IF;
        IF TG_OP IN ('INSERT', 'UPDATE') THEN
            INSERT INTO text_words (source_type, source_id, configuration, n_words, stems, counts)
            SELECT '{source}', {key}, configuration, (SELECT coalesce(sum(n), 0) FROM unnest(counts) AS n),
                   stems, counts
            FROM new_texts AS n, text_configuration({new_language}) AS configuration,
                 count_stems(configuration, {new_body})
            WHERE NOT EXISTS (SELECT FROM text_words AS w WHERE w.source_type = '{source}' AND w.source_id = n.{key});
        END IF;
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER count_words_of_new AFTER INSERT ON {table}
    REFERENCING NEW TABLE AS new_texts FOR EACH STATEMENT EXECUTE FUNCTION count_words_of_{table}()
    """,
    """
    CREATE TRIGGER count_words_of_changed AFTER UPDATE ON {table}
    REFERENCING OLD TABLE AS old_texts NEW TABLE AS new_texts
    FOR EACH STATEMENT EXECUTE FUNCTION count_words_of_{table}()
    """,
    """
    CREATE TRIGGER drop_words_of_removed AFTER DELETE ON {table}
    REFERENCING OLD TABLE AS old_texts FOR EACH STATEMENT EXECUTE FUNCTION count_words_of_{table}()
    """,
    """
    CREATE TRIGGER drop_words_of_all AFTER TRUNCATE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION count_words_of_{table}()
    """,
    """
    INSERT INTO text_words (source_type, source_id, configuration, n_words, stems, counts)
    SELECT '{source}', {key}, configuration, (SELECT coalesce(sum(n), 0) FROM unnest(counts) AS n), stems, counts
    FROM {table} AS n, text_configuration({new_language}) AS configuration, count_stems(configuration, {new_body})
    """,
)
# made last: it is faster to make of all words than with each of them
INDEX = "CREATE INDEX text_words_by_stem ON text_words USING gin (stems)"


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
    for table, (source, key, language, body) in TEXTS.items():
        for trigger in TRIGGERS:
            op.execute(
                trigger.format(
                    table=table, source=source, key=key, new_language=language.format("n"), new_body=body.format("n"),
                    old_language=language.format("o"), old_body=body.format("o"),
                )
            )  # fmt: skip
    op.execute(INDEX)
